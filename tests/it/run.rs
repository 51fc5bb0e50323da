//! `headwater run` as a user meets it: the real binary, a real server, and programs that know nothing of either.

mod acknowledged;
mod bed;
mod documented;
mod environment;
mod files;
mod outage;
mod reload;
mod signals;
mod trial;
