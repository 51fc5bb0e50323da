//! The histograms of the process as metrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::telemetry::{FAMILIES, Histogram};

#[derive(Debug)]
pub(super) struct Durations;

impl Collector for Durations {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in &FAMILIES {
            let mut metric =
                encoder.encode_descriptor(family.name, family.help, None, MetricType::Histogram)?;
            for (value, histogram) in family.values.iter().zip(family.histograms) {
                if family.label.is_empty() {
                    write(&mut metric, histogram)?;
                } else {
                    let labels = [(family.label, *value)];
                    write(&mut metric.encode_family(&labels)?, histogram)?;
                }
            }
        }
        Ok(())
    }
}

fn write(encoder: &mut MetricEncoder<'_>, histogram: &Histogram) -> Result<(), fmt::Error> {
    let figures = histogram.figures();
    encoder.encode_histogram::<NoLabelSet>(
        figures.sum_seconds,
        figures.count,
        &figures.buckets,
        None,
    )
}
