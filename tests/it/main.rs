//! The tests that go through the doors of the library, in one binary.

mod sources;
