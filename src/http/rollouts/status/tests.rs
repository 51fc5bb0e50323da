//! Tests of the documents of rollouts.
