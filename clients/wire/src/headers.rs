//! The names of the headers that Headwater adds to the protocol, in lower case.

/// Request: the name of the instance that sends the request. It stays the same when the instance restarts.
pub const INSTANCE: &str = "headwater-instance";

/// Request: the incarnation, which is one run of the instance.
pub const INCARNATION: &str = "headwater-incarnation";

/// Request: the attributes of the instance, as `version=1.4, zone=eu-1`.
pub const ATTRIBUTES: &str = "headwater-attributes";

/// Request: the health of the instance, as `up` or `down`.
pub const HEALTH: &str = "headwater-health";

/// Request: the reason for a rejection or for `down`, as a word and a key. It never contains a value.
pub const REASON: &str = "headwater-reason";

/// Request: the outcome of a configuration in the instance, as `<revision>.<digest> ok` or `<revision>.<digest> rejected`.
pub const APPLIED: &str = "headwater-applied";

/// Request: the revision that the answer must at least have. The server repeats it in its answer when it has that
/// revision.
pub const MIN_REVISION: &str = "headwater-min-revision";

/// Response: the revision of the answer. With status 503, the newest revision of a server that does not have the requested
/// one yet.
pub const REVISION: &str = "headwater-revision";

/// Response: the newest revision of the source, when the server answers from an older one because the newest one breaks the
/// environment, or because a rollout holds the application.
pub const HELD_AT: &str = "headwater-held-at";

/// Response: the epochs of a label that was rewound, or of an application that a rollout holds. They order publications.
pub const EPOCH: &str = "headwater-epoch";

/// Response: the id of the rollout that holds the application.
pub const ROLLOUT: &str = "headwater-rollout";

/// Request of an event stream: what the instance can do beside watching, separated by commas. See [`CAN_TRY`].
pub const CAN: &str = "headwater-can";

/// The word in [`CAN`] of an instance that tries configurations which are not published yet.
pub const CAN_TRY: &str = "try";

/// Request: the answer of an instance to a trial, as `<id> ok` or `<id> rejected`. The id is that of the event.
pub const TRIED: &str = "headwater-tried";

/// Request: the digest of the contract of the instance that sends the request.
pub const CONTRACT: &str = "headwater-contract";

/// Response: the digest of a contract that a request named and the server does not have.
pub const CONTRACT_WANTED: &str = "headwater-contract-wanted";
