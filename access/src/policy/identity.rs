//! The principals, tokens, certificates and issuers that a policy declares.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use super::document::{Item, Reader, Section, printable};
use super::problem::Place;
use super::rule::Who;
use crate::jwt::{ALGORITHMS, Algorithm, Claims, DEFAULT_ALGORITHMS, Terms};
use crate::pattern::Pattern;
use crate::principal::{Kind, Principal, is_principal_name};
use crate::sha256::Sha256;

/// One `[[principal]]` table.
#[derive(Debug, Clone)]
pub(super) struct Declaration {
    pub(super) place: Place,
    pub(super) principal: Principal,
    pub(super) tokens: Box<[TokenEntry]>,
    pub(super) san_count: usize,
    pub(super) jwt_count: usize,
}

/// One token of a principal.
#[derive(Debug, Clone)]
pub(super) struct TokenEntry {
    pub(super) place: Place,
    pub(super) digest: Sha256,
    /// The first instant at which the token is no longer accepted.
    pub(super) expires: Option<Timestamp>,
}

/// The place of a token: the numbers of its declaration, and of the token there.
#[derive(Debug, Clone, Copy)]
struct TokenPlace {
    declaration: usize,
    token: usize,
}

/// One `[[issuer]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The name by which principals refer to it.
    pub name: Arc<str>,
    pub terms: Terms,
    pub keys: KeySource,
}

/// The place of an issuer's JWKS document. Only the server reads it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeySource {
    File(String),
    Url { url: String, ca_file: Option<String> },
}

/// The claims that lead to a principal.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    pub(super) place: Place,
    pub(super) issuer: Item<String>,
    /// All of them have to match.
    pub(super) claims: Vec<(String, Pattern)>,
    pub(super) target: MappingTarget,
}

#[derive(Debug, Clone)]
pub(super) enum MappingTarget {
    Principal(Arc<str>),
    /// The value of a claim, if it is among these names.
    Claim {
        claim: String,
        among: Vec<Item<String>>,
    },
}

/// All identities of a policy.
#[derive(Debug, Clone, Default)]
pub(super) struct Identities {
    pub(super) declarations: Vec<Declaration>,
    pub(super) by_name: HashMap<Arc<str>, usize>,
    by_token: HashMap<Sha256, TokenPlace>,
    /// Names of certificates: URIs as they are, DNS names in lower case.
    pub(super) by_san: HashMap<Box<str>, usize>,
    pub(super) issuers: Vec<Issuer>,
    pub(super) mappings: Vec<Mapping>,
}

impl Identities {
    pub(super) fn parse(root: &mut Section<'_>, reader: &mut Reader<'_>) -> Self {
        let mut identities = Self::default();
        for section in root.sections("issuer", "[[issuer]]", reader) {
            identities.add_issuer(section, reader);
        }
        for section in root.sections("principal", "[[principal]]", reader) {
            identities.add_principal(section, reader);
        }
        for section in root.sections("mapping", "[[mapping]]", reader) {
            identities.mappings.extend(parse_mapping(section, reader));
        }
        identities.check_mappings(reader);
        // A policy stays for long, and its lists have grown by doubling.
        identities.declarations.shrink_to_fit();
        identities.mappings.shrink_to_fit();
        identities
    }

    /// Finds the principal of a token, and the token.
    pub(super) fn token(&self, digest: &Sha256) -> Option<(&Principal, &TokenEntry)> {
        let TokenPlace { declaration, token } = self.by_token.get(digest)?;
        let declaration = &self.declarations[*declaration];
        Some((&declaration.principal, declaration.tokens.get(*token)?))
    }

    /// The places of the declared principals that `who` includes, in the order of the file.
    pub(super) fn places_of(&self, who: &[Who]) -> Vec<usize> {
        let mut places = Vec::new();
        for who in who {
            match who {
                Who::Principal(name) => places.extend(self.by_name.get(&**name)),
                Who::Kind(kind) => {
                    let declared = self.declarations.iter().enumerate();
                    let of_kind = declared.filter(|(_, one)| one.principal.kind() == *kind);
                    places.extend(of_kind.map(|(place, _)| place));
                }
                Who::Anonymous => {}
            }
        }
        places.sort_unstable();
        places.dedup();
        places
    }

    /// The declared principals that `who` includes, in the order of the file.
    pub(super) fn included(&self, who: &[Who]) -> impl Iterator<Item = &Principal> {
        self.places_of(who).into_iter().map(|place| &self.declarations[place].principal)
    }

    fn add_issuer(&mut self, section: Section<'_>, reader: &mut Reader<'_>) {
        let at = section.at;
        let Some(issuer) = parse_issuer(section, reader) else {
            return;
        };
        if self.issuers.iter().any(|other| other.name == issuer.name) {
            reader.error(at, format!("the issuer {:?} is declared twice", issuer.name));
        } else if self.issuers.iter().any(|other| other.terms.issuer == issuer.terms.issuer) {
            reader.error(at, "two issuers have the same address, so that a JWT fits both");
        } else {
            self.issuers.push(issuer);
        }
    }

    fn add_principal(&mut self, mut section: Section<'_>, reader: &mut Reader<'_>) {
        let at = section.at;
        let index = self.declarations.len();
        let name = section.required_text("name", reader);
        let kind = section.required_text("kind", reader).and_then(|kind| parse_kind(&kind, reader));
        let token_sections = section.sections("tokens", "a token", reader);
        let sans = section.texts("san", reader).unwrap_or_default();
        let jwts = section.sections("jwt", "a jwt mapping", reader);
        section.finish(reader);
        let tokens: Box<[TokenEntry]> =
            token_sections.into_iter().filter_map(|token| parse_token(token, reader)).collect();
        let Some(name) = name else {
            return;
        };
        if !is_principal_name(&name.value) {
            let shown = printable(&name.value);
            reader.error(
                name.at,
                format!(
                    "{shown} cannot be the name of a principal, expected up to 64 of A-Z a-z 0-9 \
                     . _ - @, and neither anonymous nor application"
                ),
            );
            return;
        }
        let shared: Arc<str> = name.value.as_str().into();
        if self.by_name.insert(shared.clone(), index).is_some() {
            reader.error(name.at, format!("the principal {:?} is declared twice", name.value));
        }
        self.add_tokens(index, &tokens, reader);
        self.add_sans(index, &sans, reader);
        let jwt_count = jwts.len();
        for jwt in jwts {
            self.mappings.extend(parse_jwt(jwt, shared.clone(), reader));
        }
        self.declarations.push(Declaration {
            place: reader.place(at),
            principal: Principal::new(shared, kind.unwrap_or(Kind::Service)),
            tokens,
            san_count: sans.len(),
            jwt_count,
        });
    }

    fn add_tokens(&mut self, index: usize, tokens: &[TokenEntry], reader: &mut Reader<'_>) {
        for (number, token) in tokens.iter().enumerate() {
            let place = TokenPlace { declaration: index, token: number };
            if self.by_token.insert(token.digest, place).is_some() {
                let short = token.digest.short();
                reader
                    .error_at(token.place, format!("the token {short}… appears twice. Remove one"));
            }
        }
    }

    fn add_sans(&mut self, index: usize, sans: &[Item<String>], reader: &mut Reader<'_>) {
        for san in sans {
            let shown = printable(&san.value);
            let name = san_key(&san.value);
            if name.contains('*') || name.contains(char::is_whitespace) || name.is_empty() {
                reader.error(
                    san.at,
                    format!("{shown}: expected one URI or DNS name without wildcards"),
                );
            } else if self.by_san.insert(name, index).is_some() {
                reader.error(san.at, format!("the certificate name {shown} appears twice"));
            }
        }
    }

    fn check_mappings(&self, reader: &mut Reader<'_>) {
        for mapping in &self.mappings {
            let issuer = &mapping.issuer;
            if !self.issuers.iter().any(|declared| *declared.name == *issuer.value) {
                let shown = printable(&issuer.value);
                let message =
                    format!("no [[issuer]] is named {shown}. Add it, or correct the name");
                reader.error(issuer.at, message);
            }
            if let MappingTarget::Claim { among, .. } = &mapping.target {
                for name in among.iter().filter(|name| !self.by_name.contains_key(&*name.value)) {
                    reader.error(name.at, unknown_principal(&name.value));
                }
            }
        }
    }

    /// Every principal with a description of each of its credentials. Equal descriptions accept the same callers.
    pub(super) fn descriptions(&self) -> BTreeSet<(String, String)> {
        let mut found = BTreeSet::new();
        for declaration in &self.declarations {
            for token in &declaration.tokens {
                let digest = token.digest.short();
                let until = token.expires.map(|expires| format!(" until {expires}"));
                let token = format!("the token {digest}…{}", until.unwrap_or_default());
                found.insert((declaration.principal.name().to_owned(), token));
            }
        }
        for (name, principal) in &self.by_san {
            let principal = self.declarations[*principal].principal.name().to_owned();
            found.insert((principal, format!("the certificate name {name}")));
        }
        for mapping in &self.mappings {
            let jwts = self.describe_jwts(mapping);
            match &mapping.target {
                MappingTarget::Principal(name) => {
                    found.insert((name.to_string(), jwts));
                }
                MappingTarget::Claim { claim, among } => found.extend(
                    among
                        .iter()
                        .map(|name| (name.value.clone(), format!("{jwts} and its {claim}"))),
                ),
            }
        }
        found
    }

    fn describe_jwts(&self, mapping: &Mapping) -> String {
        let mut claims: Vec<String> =
            mapping.claims.iter().map(|(name, pattern)| format!("{name} = {pattern}")).collect();
        claims.sort();
        let claims = claims.join(", ");
        let issuer = self.issuers.iter().find(|issuer| *issuer.name == *mapping.issuer.value);
        let Some(Issuer { terms, keys, .. }) = issuer else {
            return format!("a JWT of {} with {claims}", mapping.issuer.value);
        };
        let keys = match keys {
            KeySource::File(file) => file.clone(),
            KeySource::Url { url, ca_file: None } => url.clone(),
            KeySource::Url { url, ca_file: Some(file) } => format!("{url} by {file}"),
        };
        let Terms { issuer, audience, algorithms } = terms;
        format!("a JWT of {issuer} for {audience} ({algorithms:?}, keys in {keys}) with {claims}")
    }

    /// The principals to which verified claims lead, without duplicates.
    pub(super) fn mapped(&self, issuer: &str, claims: &Claims) -> Vec<usize> {
        let mappings = self.mappings.iter().filter(|mapping| mapping.issuer.value == issuer);
        let matching = mappings.filter(|mapping| {
            let matches = |(name, pattern): &(String, Pattern)| {
                claims.any_text(name, |text| pattern.matches(text))
            };
            mapping.claims.iter().all(matches)
        });
        let names = matching.filter_map(|mapping| match &mapping.target {
            MappingTarget::Principal(name) => Some(&**name),
            MappingTarget::Claim { claim, among } => {
                claims.text(claim).filter(|name| among.iter().any(|known| known.value == *name))
            }
        });
        let mut found: Vec<usize> =
            names.filter_map(|name| self.by_name.get(name).copied()).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The form in which a name of a certificate is compared: DNS names regardless of case.
pub(super) fn san_key(name: &str) -> Box<str> {
    if name.contains("://") { name.into() } else { name.to_ascii_lowercase().into() }
}

pub(super) fn unknown_principal(name: &str) -> String {
    let name = printable(name);
    format!("no [[principal]] is named {name}. Add it, or correct the name")
}

fn parse_kind(kind: &Item<String>, reader: &mut Reader<'_>) -> Option<Kind> {
    let parsed = Kind::parse(&kind.value);
    if parsed.is_none() {
        let shown = printable(&kind.value);
        let kinds = Kind::DECLARED.map(Kind::as_str).join(", ");
        reader.error(kind.at, format!("unknown kind {shown}. The kinds are {kinds}"));
    }
    parsed
}

fn parse_token(mut section: Section<'_>, reader: &mut Reader<'_>) -> Option<TokenEntry> {
    let at = section.at;
    let digest = section.required_text("sha256", reader);
    let expires = section.datetime("expires", reader);
    section.text("comment", reader);
    section.finish(reader);
    let expires = match expires {
        None => None,
        Some(expires) => Some(parse_expiry(&expires, reader)?),
    };
    let digest = digest?;
    // The value is not repeated, because it may be the token itself.
    let Some(parsed) = Sha256::parse(&digest.value) else {
        let length = digest.value.chars().count();
        reader.error(
            digest.at,
            format!(
                "sha256: expected 64 hexadecimal digits, got {length} characters. Write the \
                 digest that headwater token new prints, never the token"
            ),
        );
        return None;
    };
    Some(TokenEntry { place: reader.place(at), digest: parsed, expires })
}

/// A date without a time means its beginning in UTC, so that a token never lives longer than its author could mean.
fn parse_expiry(
    expires: &Item<toml::value::Datetime>,
    reader: &mut Reader<'_>,
) -> Option<Timestamp> {
    let value = &expires.value;
    let text = match (value.date, value.time, value.offset) {
        (Some(date), None, None) => format!("{date}T00:00:00Z"),
        (Some(_), Some(_), Some(_)) => value.to_string(),
        _ => {
            let message = "expires: expected a date such as 2027-03-01, or a time with an offset \
                           such as 2027-03-01T12:00:00Z";
            reader.error(expires.at, message);
            return None;
        }
    };
    let parsed = text.parse().ok();
    if parsed.is_none() {
        reader.error(expires.at, format!("expires: {value} is not a date of the calendar"));
    }
    parsed
}

fn parse_issuer(mut section: Section<'_>, reader: &mut Reader<'_>) -> Option<Issuer> {
    let at = section.at;
    let name = section.required_text("name", reader);
    let issuer = section.required_text("issuer", reader);
    let audience = section.required_text("audience", reader);
    let file = section.text("jwks_file", reader);
    let url = section.text("jwks_url", reader);
    let ca_file = section.text("ca_file", reader);
    let algorithms = section.texts("algorithms", reader);
    section.finish(reader);
    let algorithms = match algorithms {
        None => DEFAULT_ALGORITHMS.to_vec(),
        Some(names) => {
            names.iter().filter_map(|name| parse_algorithm(name, reader)).collect::<Vec<_>>()
        }
    };
    let keys = match (file, url) {
        (Some(file), None) if ca_file.is_none() => KeySource::File(file.value),
        (None, Some(url)) => {
            if !url.value.starts_with("https://") {
                let message = "jwks_url: expected an address that begins with https://. An \
                               attacker who replaces the keys could sign tokens";
                reader.error(url.at, message);
            }
            KeySource::Url { url: url.value, ca_file: ca_file.map(|file| file.value) }
        }
        (Some(_), None) => {
            reader.error(at, "ca_file has a meaning only beside jwks_url. Remove it");
            return None;
        }
        (Some(_), Some(_)) | (None, None) => {
            reader.error(at, "[[issuer]] needs exactly one of jwks_file and jwks_url");
            return None;
        }
    };
    let terms =
        Terms { issuer: issuer?.value, audience: non_empty(audience?, reader)?, algorithms };
    Some(Issuer { name: name?.value.into(), terms, keys })
}

fn non_empty(text: Item<String>, reader: &mut Reader<'_>) -> Option<String> {
    if text.value.is_empty() {
        reader.error(text.at, "audience: expected the name under which clients know this server");
        return None;
    }
    Some(text.value)
}

fn parse_algorithm(name: &Item<String>, reader: &mut Reader<'_>) -> Option<Algorithm> {
    let found = ALGORITHMS.into_iter().find(|(known, _)| *known == name.value);
    if found.is_none() {
        let shown = printable(&name.value);
        let known = ALGORITHMS.map(|(known, _)| known).join(", ");
        reader.error(name.at, format!("unknown algorithm {shown}. The algorithms are {known}"));
    }
    found.map(|(_, algorithm)| algorithm)
}

/// Reads an entry of `jwt`: the issuer, and the claims as further keys or in a table `claims`.
fn parse_jwt(
    mut section: Section<'_>,
    principal: Arc<str>,
    reader: &mut Reader<'_>,
) -> Option<Mapping> {
    let at = section.at;
    let issuer = section.required_text("issuer", reader);
    let table = section.section("claims", "claims", reader);
    let mut claims = section.remaining_texts(reader);
    claims.extend(table.into_iter().flat_map(|mut table| table.remaining_texts(reader)));
    let claims = parse_claims(claims, at, reader);
    let (place, target) = (reader.place(at), MappingTarget::Principal(principal));
    Some(Mapping { place, issuer: issuer?, claims, target })
}

/// Reads a `[[mapping]]` table, which leads to the principal that a claim names.
fn parse_mapping(mut section: Section<'_>, reader: &mut Reader<'_>) -> Option<Mapping> {
    let at = section.at;
    let issuer = section.required_text("issuer", reader);
    let name = section.required_text("name", reader);
    let among = section.texts("among", reader);
    let table = section.section("claims", "claims", reader);
    section.finish(reader);
    let claims = table.map(|mut table| table.remaining_texts(reader)).unwrap_or_default();
    let claims = parse_claims(claims, at, reader);
    if among.is_none() {
        reader.error(at, "[[mapping]] has no among. List the principals to which it may lead");
    }
    let name = name?;
    let claim = name.value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let Some(claim) = claim.filter(|claim| !claim.is_empty()) else {
        let shown = printable(&name.value);
        reader.error(name.at, format!("name: expected a claim in braces, got {shown}"));
        return None;
    };
    let target = MappingTarget::Claim { claim: claim.to_owned(), among: among.unwrap_or_default() };
    Some(Mapping { place: reader.place(at), issuer: issuer?, claims, target })
}

/// An issuer signs tokens for all of its users, so that a mapping without claims would accept every one of them.
fn parse_claims(
    texts: Vec<(Item<String>, Item<String>)>,
    at: usize,
    reader: &mut Reader<'_>,
) -> Vec<(String, Pattern)> {
    if texts.is_empty() {
        reader.error(at, "the mapping names no claim. Add the claims that have to match");
    }
    let mut claims = Vec::new();
    for (name, value) in texts {
        match Pattern::parse(&value.value) {
            Ok(pattern) => claims.push((name.value, pattern)),
            Err(error) => reader.error(value.at, format!("{}: {error}", name.value)),
        }
    }
    claims
}
