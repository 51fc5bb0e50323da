//! The identities that the connections of one worker thread share.
//!
//! Connections with the same credential remember one identity in one place. It stays in the cache of the processor, and the
//! first request of a further connection does not authenticate again.
//!
//! Invariant: a connection with a client certificate shares nothing, because its certificate is a part of its credential.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::{ConnectionIdentity, PresentedCredential};
use crate::access::{Guard, Identity};

/// The number of identities at which those that no connection remembers are removed. Twice the number of remaining ones
/// replaces it if that is larger.
const SWEEP_AT: usize = 1_024;

/// The identities that the connections of one worker thread remember, by the hash of their credential.
///
/// The hash has a random key. No client can find a credential with the hash of another one, so that the comparison of the
/// credentials themselves, which does not take constant time, shows nothing of a credential that the client does not have.
#[derive(Default)]
pub struct SharedIdentities {
    keys: RandomState,
    known: RefCell<HashMap<u64, Weak<ConnectionIdentity>>>,
    sweep_at: Cell<usize>,
}

impl SharedIdentities {
    /// Returns the identity of a credential that another connection has proved under the policy in force.
    pub(super) fn find(
        &self,
        guard: &Guard,
        presented: PresentedCredential<'_>,
    ) -> Option<Rc<ConnectionIdentity>> {
        let hash = self.keys.hash_one(presented);
        let found = self.known.borrow().get(&hash)?.upgrade()?;
        found.caller(guard, presented).is_some().then_some(found)
    }

    /// Makes an identity known to other connections.
    pub(super) fn add(
        &self,
        presented: PresentedCredential<'_>,
        identity: &Arc<Identity>,
    ) -> Rc<ConnectionIdentity> {
        let mut known = self.known.borrow_mut();
        if known.len() >= self.sweep_at.get().max(SWEEP_AT) {
            known.retain(|_, identity| identity.strong_count() > 0);
            self.sweep_at.set(2 * known.len());
        }
        let added = Rc::new(ConnectionIdentity::new(presented, identity));
        known.insert(self.keys.hash_one(presented), Rc::downgrade(&added));
        added
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{CredentialHeaders, JwtVerification};

    const POLICY: &str = "version = 1\n\
        [[principal]]\nname = \"ops\"\nkind = \"operator\"\ntokens = [{ sha256 = \"DIGEST\" }]\n\
        [[allow]]\nwho = [\"ops\"]\nmay = [\"admin\"]\n";
    /// The digest of the token `a`.
    const DIGEST: &str = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";

    fn policy() -> String {
        POLICY.replace("DIGEST", DIGEST)
    }

    fn presented(text: &str) -> PresentedCredential<'_> {
        PresentedCredential { authorization: Some(text.as_bytes()), config_token: None }
    }

    fn identity(guard: &Guard) -> Arc<Identity> {
        let headers = CredentialHeaders { authorization: &[b"Bearer a"], config_token: &[] };
        guard.authenticate(None, headers, JwtVerification::Performed).unwrap()
    }

    #[test]
    fn an_identity_is_found_by_exactly_its_credential() {
        let guard = Guard::new("policy.toml", policy().as_bytes(), None).unwrap();
        let (identities, credential) = (SharedIdentities::default(), presented("Bearer a"));
        let added = identities.add(credential, &identity(&guard));
        assert!(Rc::ptr_eq(&identities.find(&guard, credential).unwrap(), &added));
        for other in ["Bearer b", "Bearer a ", "bearer a", ""] {
            assert!(identities.find(&guard, presented(other)).is_none(), "{other}");
        }
        let moved = PresentedCredential { authorization: None, config_token: Some(b"Bearer a") };
        assert!(identities.find(&guard, moved).is_none());
        assert!(identities.find(&guard, PresentedCredential::default()).is_none());
        drop(added);
        assert!(identities.find(&guard, credential).is_none());
    }

    #[test]
    fn a_changed_policy_forgets_every_identity() {
        let guard = Guard::new("policy.toml", policy().as_bytes(), None).unwrap();
        let (identities, credential) = (SharedIdentities::default(), presented("Bearer a"));
        let added = identities.add(credential, &identity(&guard));
        assert!(Rc::ptr_eq(&identities.find(&guard, credential).unwrap(), &added));
        let changed = format!("{}# another text\n", policy());
        assert!(guard.replace("policy.toml", changed.as_bytes(), |_| Ok(()), drop).unwrap());
        assert!(identities.find(&guard, credential).is_none());
    }

    #[test]
    fn identities_without_a_connection_are_removed() {
        let guard = Guard::new("policy.toml", policy().as_bytes(), None).unwrap();
        let (identity, identities) = (identity(&guard), SharedIdentities::default());
        for number in 0..10 * SWEEP_AT {
            identities.add(presented(&format!("Bearer {number}")), &identity);
        }
        assert!(identities.known.borrow().len() <= SWEEP_AT);
        let kept: Vec<_> = (0..3 * SWEEP_AT)
            .map(|number| identities.add(presented(&format!("Basic {number}")), &identity))
            .collect();
        assert!(identities.known.borrow().len() >= kept.len());
    }
}
