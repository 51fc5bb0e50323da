//! The stages of a plan: numbers and shares, linear or exponential, and the bake of each.

use std::time::Duration;

use super::document::{Item, OneOrMany, Reader, Section};
use super::value::{Size, parse_duration};
use super::{Reach, STAGE_COUNT_MAX, Share};

/// The stages of a plan, by any of the three ways to write them. With `by`, the last one only.
pub(super) fn read_reaches(
    section: &mut Section<'_>,
    has_by: bool,
    reader: &mut Reader<'_>,
) -> Option<Vec<Reach>> {
    let at = section.at;
    let stages = section.texts("stages", reader);
    let first = section.text("first", reader);
    let factor = section.integer("factor", reader);
    match (stages, first, factor) {
        (None, None, None) if has_by => Some(vec![Reach::All]),
        (Some(stages), None, None) if !has_by => read_stages(&stages, at, reader),
        (None, Some(first), Some(factor)) if !has_by => exponential(&first, &factor, reader),
        (None, None, None) => {
            reader.error(
                at,
                "the plan has no stages. Add stages = [\"1\", \"5%\", \"all\"], or first and \
                 factor, or by",
            );
            None
        }
        (None, Some(Item { at, .. }), None) if !has_by => {
            reader.error(at, "first: factor is missing. Add factor = 2");
            None
        }
        (None, None, Some(Item { at, .. })) if !has_by => {
            reader.error(at, "factor: first is missing. Add first = \"1%\"");
            None
        }
        _ => {
            reader.error(at, "stages, first with factor, and by exclude each other. Keep one");
            None
        }
    }
}

fn read_stages(items: &[Item<String>], at: usize, reader: &mut Reader<'_>) -> Option<Vec<Reach>> {
    if items.len() > STAGE_COUNT_MAX {
        let count = items.len();
        reader.error(at, format!("stages: at most {STAGE_COUNT_MAX} stages, got {count}"));
        return None;
    }
    let (last, sizes) = items.split_last()?;
    if last.value != "all" {
        reader.error(last.at, "stages: the last stage has to be \"all\". Add it");
        return None;
    }
    let mut reaches = Vec::new();
    for item in sizes {
        if item.value == "all" {
            reader.error(item.at, "stages: only the last stage can be \"all\"");
            return None;
        }
        let size = reader.accept(item.at, "stages", Size::parse(&item.value))?;
        if reaches.last().is_some_and(|last| !is_growing(last, size)) {
            let message = format!("stages: {size} is not more than the stage before. Order them");
            reader.error(item.at, message);
            return None;
        }
        reaches.push(Reach::Size(size));
    }
    reaches.push(Reach::All);
    Some(reaches)
}

/// Returns false if a stage cannot reach more than the one before. A number and a share can always differ, except that
/// no number is below one.
fn is_growing(last: &Reach, next: Size) -> bool {
    match (last, next) {
        (Reach::Size(Size::Count(last)), Size::Count(next)) => *last < next,
        (Reach::Size(Size::Share(last)), Size::Share(next)) => *last < next,
        (Reach::Size(Size::Share(_)), Size::Count(next)) => next > 1,
        _ => true,
    }
}

/// The stages `first`, `first × factor`, `first × factor²` and so on, as long as they are shares, then all.
fn exponential(
    first: &Item<String>,
    factor: &Item<i64>,
    reader: &mut Reader<'_>,
) -> Option<Vec<Reach>> {
    let size = reader.accept(first.at, "first", Size::parse(&first.value))?;
    let Size::Share(share) = size else {
        reader.error(first.at, "first: expected a share such as \"1%\", because it is multiplied");
        return None;
    };
    let Some(factor_value) = u32::try_from(factor.value).ok().filter(|own| (2..=100).contains(own))
    else {
        reader.error(factor.at, "factor: expected a whole number from 2 to 100");
        return None;
    };
    let next = |share: &Share| share.times(factor_value);
    let shares = std::iter::successors(Some(share), next).take(STAGE_COUNT_MAX);
    let mut reaches: Vec<Reach> = shares.map(|share| Reach::Size(Size::Share(share))).collect();
    reaches.push(Reach::All);
    if reaches.len() > STAGE_COUNT_MAX {
        let message = format!("first: more than {STAGE_COUNT_MAX} stages. Raise first or factor");
        reader.error(first.at, message);
        return None;
    }
    Some(reaches)
}

/// One bake for each stage. A single one counts for all.
pub(super) fn read_bakes(
    bakes: Option<OneOrMany>,
    count: usize,
    at: usize,
    reader: &mut Reader<'_>,
) -> Option<Vec<Duration>> {
    match bakes {
        None => {
            reader.error(at, "the plan has no bake. Add bake = \"5m\", or one for each stage");
            None
        }
        Some(OneOrMany::One(item)) => {
            let bake = reader.accept(item.at, "bake", parse_duration(&item.value))?;
            Some(vec![bake; count])
        }
        Some(OneOrMany::Many(items)) => {
            // A plan whose stages have problems has no number to compare with.
            if count > 0 && items.len() != count {
                let found = items.len();
                reader.error(
                    items.first().map_or(at, |item| item.at),
                    format!("bake: expected one time or {count}, one for each stage, got {found}"),
                );
                return None;
            }
            let bakes = items
                .iter()
                .map(|item| reader.accept(item.at, "bake", parse_duration(&item.value)));
            // Every item is read, so that all problems are reported.
            bakes.collect::<Vec<_>>().into_iter().collect()
        }
    }
}
