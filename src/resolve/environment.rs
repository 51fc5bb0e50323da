//! The assembly of an environment in the phases of Spring Boot's `ConfigDataEnvironment`.
//!
//! 1. Load the files of the search directories without a profile, and the imports of their unconditional documents.
//! 2. Determine the cloud platform, and load the imports of documents whose condition needs only the platform.
//! 3. Determine the profiles from the request, includes and groups. Load the files for profiles, and all other imports.
//!
//! A property is bound with the knowledge of its phase. Its placeholders see the documents that are loaded by then and that
//! no condition excludes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::activation::{Context, Platform, origin};
use super::contributions::{
    BoundProperties, ContributionId, Contributions, LoadedDocument, Phase, ROOT,
};
use super::control::{CONDITIONAL, Control, ControlList};
use super::file_loader::{FileLoader, LoadedFile};
use super::location::{EmptyLocationError, Location, LocationError, locations};
use super::visible_properties::{ActivationCache, VisibleProperties};
use super::{IMPORT_DEPTH_MAX, ResolveError, extensions, profiles};
use crate::areas::Permission;
use crate::model::{Origin, Problem, PropertySource, Query};

/// An environment in assembly.
pub(super) struct Assembly<'f, 't, 'q> {
    files: &'f mut FileLoader<'t>,
    query: &'q Query,
    /// Lowest precedence first.
    directories: Vec<Arc<str>>,
    /// The stems to look for, lowest precedence first.
    names: Vec<&'q str>,
    contributions: Contributions,
    /// Ignored imports, which do not prevent serving the environment.
    notices: BTreeSet<(Origin, &'static str)>,
    /// Imports of files of other areas.
    foreign: BTreeSet<(Origin, &'static str)>,
}

impl<'f, 't, 'q> Assembly<'f, 't, 'q> {
    pub(super) fn new(
        files: &'f mut FileLoader<'t>,
        query: &'q Query,
        directories: Vec<Arc<str>>,
        names: Vec<&'q str>,
    ) -> Self {
        let (contributions, notices) = (Contributions::new(), BTreeSet::new());
        let foreign = BTreeSet::new();
        Self { files, query, directories, names, contributions, notices, foreign }
    }

    /// Assembles the environment. Returns its sources, highest precedence first. `name` names each source.
    pub(super) fn run(
        &mut self,
        name: &dyn Fn(&LoadedDocument) -> Arc<str>,
    ) -> Result<Vec<PropertySource>, ResolveError> {
        self.visit(ROOT, Phase::BeforeProfiles, Context::Initial, 0)?;
        let platform = self.platform()?;
        self.visit(ROOT, Phase::BeforeProfiles, Context::Platform(platform), 0)?;
        let accepted = self.accept(platform)?;
        let context = Context::Profiles(platform, &accepted);
        self.visit(ROOT, Phase::AfterProfiles, context, 0)?;
        profiles::check_forbidden(&self.contributions, self.ignores_profiles())?;
        Ok(self.contributions.sources(context, name)?)
    }

    /// The ignored imports, which do not prevent serving the environment.
    pub(super) fn notices(&self) -> Vec<Problem> {
        let notices = self.notices.iter();
        notices.map(|(at, why)| Control::Import.problem(at.clone(), why)).collect()
    }

    /// The imports of files of other areas.
    pub(super) fn foreign(&self) -> Vec<Problem> {
        let foreign = self.foreign.iter();
        foreign.map(|(at, why)| Control::Import.problem(at.clone(), why)).collect()
    }

    /// Returns true for a request without profiles. A Spring client repeats such a request with its profiles, and until then no
    /// file adds any.
    fn ignores_profiles(&self) -> bool {
        self.query.profile_names().next().is_none_or(|first| first.eq_ignore_ascii_case("default"))
    }

    /// Binds and imports everything that is still unbound or not imported, below a contribution and then for itself.
    fn visit(
        &mut self,
        id: ContributionId,
        phase: Phase,
        context: Context<'_>,
        depth: usize,
    ) -> Result<(), ResolveError> {
        for child in self.contributions.children(id) {
            self.visit(child, phase, context, depth + 1)?;
        }
        if self.contributions.get(id).bound.is_none() {
            let bound = self.bind(id, context)?;
            self.contributions.bind(id, bound);
        }
        let contribution = self.contributions.get(id);
        let imports =
            id == ROOT || contribution.bound.iter().any(|bound| !bound.imports.is_empty());
        if !imports
            || !contribution.is_active(context)?
            || !self.contributions.is_unprocessed(id, phase)
        {
            return Ok(());
        }
        let imported = match id {
            ROOT => self.search(context)?,
            _ => self.import(id, context, depth)?,
        };
        self.contributions.set_children(id, phase, imported.clone());
        for child in imported {
            self.visit(child, phase, context, depth + 1)?;
        }
        Ok(())
    }

    /// Loads the files of the search directories: for the profiles if they are known, otherwise the files without a profile.
    fn search(&mut self, context: Context<'_>) -> Result<Vec<ContributionId>, ResolveError> {
        let mut sorted = self.directories.clone();
        sorted.sort_unstable();
        let sorted: Arc<[Arc<str>]> = sorted.into();
        let mut ids = Vec::new();
        let Context::Profiles(_, accepted) = context else {
            for file in self.files.search(&self.directories, &sorted, &self.names, None)? {
                ids.extend(self.contributions.add(&file, false));
            }
            return Ok(ids);
        };
        for profile in accepted.iter().rev() {
            let profile = Some(profile.as_str());
            for file in self.files.search(&self.directories, &sorted, &self.names, profile)? {
                ids.extend(self.contributions.add(&file, true));
            }
        }
        Ok(ids)
    }

    /// Imports the locations of a document. Returns its imports, highest precedence first. Profile variants rank above the
    /// plain files of the same value.
    fn import(
        &mut self,
        id: ContributionId,
        context: Context<'_>,
        depth: usize,
    ) -> Result<Vec<ContributionId>, ResolveError> {
        let contribution = self.contributions.get(id);
        let (Some(content), Some(bound)) = (&contribution.content, &contribution.bound) else {
            return Ok(Vec::new());
        };
        let (file, values) = (content.file.clone(), bound.imports.clone());
        let at = self.import_origin(content);
        if depth > IMPORT_DEPTH_MAX {
            let message = format!("imports lead through more than {IMPORT_DEPTH_MAX} files");
            return Err(Control::Import.problem(at, &message).into());
        }
        let profiles: &[String] = match context {
            Context::Profiles(_, accepted) => accepted,
            _ => &[],
        };
        let mut imported = Vec::new();
        for value in values.iter().rev() {
            let locations = locations(value)
                .map_err(|EmptyLocationError| Control::Import.problem(at.clone(), EMPTY))?;
            for profile in profiles.iter().rev() {
                for location in locations.iter().rev() {
                    self.load(location, &file, Some(profile), &at, &mut imported)?;
                }
            }
            for location in locations.iter().rev() {
                self.load(location, &file, None, &at, &mut imported)?;
            }
        }
        Ok(imported)
    }

    fn import_origin(&self, content: &LoadedDocument) -> Origin {
        let list = content.controls.list(content.document(), Control::Import);
        let position = list.as_ref().and_then(ControlList::position);
        Origin { file: Arc::clone(&content.file.path), position }
    }

    /// Loads the files of a location, highest precedence first.
    fn load(
        &mut self,
        location: &Location,
        importer: &LoadedFile,
        profile: Option<&str>,
        at: &Origin,
        imported: &mut Vec<ContributionId>,
    ) -> Result<(), ResolveError> {
        let in_folder: Vec<&'static str> = extensions(self.files.layout).collect();
        let references = location
            .references(&importer.base, &self.names, profile, &in_folder)
            .map_err(|why| Control::Import.problem(at.clone(), unreadable(why, location)))?;
        let mut is_there = false;
        let mut foreign = None;
        for reference in references.iter().rev() {
            let paths = self.files.paths(reference)?;
            foreign = foreign.or(match paths.loading {
                Permission::Allowed => None,
                Permission::WouldDeny => Some(RECORDED),
                Permission::Denied => Some(FOREIGN),
            });
            for path in paths.found.iter().rev() {
                is_there = true;
                if let Some(file) = self.files.import(path, reference)? {
                    imported.extend(self.contributions.add(&file, profile.is_some()));
                }
            }
        }
        match foreign {
            // The variant for a profile can have the name of another application by chance.
            Some(why) if profile.is_none() => {
                self.foreign.insert((at.clone(), why));
            }
            None if profile.is_none() && !is_there => self.notice(location, at),
            _ => {}
        }
        Ok(())
    }

    /// Records an import that names no file.
    fn notice(&mut self, location: &Location, at: &Origin) {
        let why = match (location.has_placeholder(), location.is_optional) {
            (true, _) => UNRESOLVED,
            (false, false) => MISSING,
            (false, true) => return,
        };
        self.notices.insert((at.clone(), why));
    }

    /// Reads the condition and the imports of a document.
    fn bind(
        &self,
        id: ContributionId,
        context: Context<'_>,
    ) -> Result<BoundProperties, ResolveError> {
        let Some(content) = &self.contributions.get(id).content else {
            return Ok(BoundProperties::default());
        };
        let decisions = ActivationCache::default();
        let visible =
            VisibleProperties::to(&self.contributions, self.query, context, Some(id), &decisions);
        let condition = visible.condition(content)?;
        let imports = visible.imports(content)?;
        Ok(BoundProperties { condition, imports })
    }

    /// The platform that unconditional documents set, or none.
    fn platform(&self) -> Result<Platform, ResolveError> {
        let mut found = None;
        for id in self.contributions.in_order() {
            let contribution = self.contributions.get(id);
            let Some(content) = &contribution.content else { continue };
            let Some(property) = content.controls.text(content.document(), Control::CloudPlatform)
            else {
                continue;
            };
            let at = origin(&content.file.path, property.position);
            if !contribution.is_active(Context::Initial)? {
                return Err(Control::CloudPlatform.problem(at, CONDITIONAL).into());
            }
            if found.is_none() {
                let (decisions, context) = (ActivationCache::default(), Context::Initial);
                let visible = VisibleProperties::to(
                    &self.contributions,
                    self.query,
                    context,
                    None,
                    &decisions,
                );
                let text = visible.resolve(property.value.text(), at, Control::CloudPlatform)?;
                found = Some(Platform::enforced(&text).unwrap_or(Platform::NONE));
            }
        }
        Ok(found.unwrap_or(Platform::NONE))
    }

    /// The accepted profiles (docs/protocol.md#73-profiles): the requested ones, included ones, and the members of groups. Later
    /// ones rank higher.
    fn accept(&self, platform: Platform) -> Result<Vec<String>, ResolveError> {
        let requested = self.query.profile_names().map(str::to_owned);
        let mut wanted = profiles::ProfileSet::new(requested.collect());
        if self.ignores_profiles() {
            return Ok(wanted.expand()?);
        }
        let context = Context::Platform(platform);
        let decisions = ActivationCache::default();
        let visible =
            VisibleProperties::to(&self.contributions, self.query, context, None, &decisions);
        for id in self.contributions.in_order() {
            let contribution = self.contributions.get(id);
            let Some(content) = &contribution.content else { continue };
            if let Some(list) = content.controls.list(content.document(), Control::Include) {
                let included = visible.list(content, &list, Control::Include)?;
                let position = list.position();
                let at = Origin { file: Arc::clone(&content.file.path), position };
                if !contribution.is_active(context)? {
                    return Err(Control::Include.problem(at, CONDITIONAL).into());
                }
                wanted.include(included, at);
            }
            for (name, list) in content.controls.groups(content.document()) {
                let members = visible.list(content, &list, Control::Group)?;
                let position = list.position();
                let at = Origin { file: Arc::clone(&content.file.path), position };
                wanted.group(name, members, at);
            }
        }
        Ok(wanted.expand()?)
    }
}

/// The notice for a location with an unresolved placeholder that names no file.
const UNRESOLVED: &str = "a placeholder in the location has no value in the documents read before it, so the import is \
                          ignored: define its key in an unconditional document, or give it a default";
/// The notice for a location that is not optional and names no file.
const MISSING: &str = "the location names no file of the repository, so the import is ignored: correct it, or mark it \
                       `optional:`";

/// The problem of an import that leads to a file of another area.
const FOREIGN: &str = "the location leads to a file of another area, so the import is ignored: import a file of the same area or a \
                       shared one, or let an [[area]] of the policy share the file";
/// The same problem while the policy is not enforced.
const RECORDED: &str = "the location leads to a file of another area, so the import will be ignored when the policy is enforced: \
                        import a file of the same area or a shared one, or let an [[area]] of the policy share the file";

/// The problem with a list such as `a.yml;`.
const EMPTY: &str = "a list of locations contains an empty one: remove the extra `;`";

fn unreadable(why: LocationError, location: &Location) -> &'static str {
    match why {
        LocationError::Extension if location.has_placeholder() => {
            "a placeholder in the location has no value in the documents read before it: define its key in an \
             unconditional document, or give it a default"
        }
        LocationError::Extension => {
            "unknown file extension in an import: end a folder with `/`, or add a hint such as `[.yml]`"
        }
        LocationError::Wildcard => {
            "a wildcard in an import is allowed once, as the last folder: `parts/*/`"
        }
    }
}
