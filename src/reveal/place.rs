//! The areas to which the values of a file may be bound.

use crate::model::SHARED_APPLICATION;

/// The area of files that all applications share, and of the overrides.
pub const SHARED_AREA: &str = "*";
/// The most areas of one file. A longer name is a name with many dashes.
const AREA_COUNT_MAX: usize = 16;

/// The areas of a file: the names of the applications whose file it can be, longest first. `orders-eu-prod.yml` can be a file of
/// `orders-eu-prod`, of `orders-eu` and of `orders`. A file without a path is the overrides.
///
/// This function alone decides where a value opens.
pub fn areas_of(file: Option<&str>) -> Vec<&str> {
    let Some(file) = file else { return vec![SHARED_AREA] };
    let name = file.rsplit_once('/').map_or(file, |(_, name)| name);
    let stem = match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    };
    let shared = stem.strip_prefix(SHARED_APPLICATION);
    if shared.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
        return vec![SHARED_AREA];
    }
    let heads = stem.rmatch_indices('-').map(|(at, _)| &stem[..at]);
    std::iter::once(stem)
        .chain(heads)
        .filter(|area| !area.is_empty())
        .take(AREA_COUNT_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_decides_its_areas() {
        for (file, areas) in [
            (Some("orders.yml"), &["orders"][..]),
            (Some("a/b/orders-eu-prod.yml"), &["orders-eu-prod", "orders-eu", "orders"]),
            (Some("application.yml"), &["*"]),
            (Some("orders/application-prod.properties"), &["*"]),
            (Some("applications.yml"), &["applications"]),
            (Some("-x.yml"), &["-x"]),
            (Some("noextension"), &["noextension"]),
            (None, &["*"]),
        ] {
            assert_eq!(areas_of(file), areas, "{file:?}");
        }
        assert_eq!(areas_of(Some(&"-a".repeat(100))).len(), AREA_COUNT_MAX);
    }
}
