//! Where samples go, and how they are written by the library's encoder.
//!
//! Always holds: a family without a sample is not written at all. Never: a value that this file makes up.

use super::families::{Family, Kind, Measure};
use crate::metrics::Durations;
use prometheus_client::encoding::{
    CounterValueEncoder, DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, GaugeValueEncoder,
    MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::borrow::Cow;
use std::fmt;

/// Names and values. No name comes twice.
pub(super) type Labels<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// The value of a counter or gauge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Whole(u64),
    Real(f64),
}

impl Number {
    /// What is counted in machine words.
    pub(super) fn size(size: usize) -> Number {
        Number::Whole(size as u64)
    }

    /// Microseconds, in seconds.
    pub(super) fn seconds(us: u64) -> Number {
        Number::Real(seconds(us))
    }

    pub(super) fn duration(duration: std::time::Duration) -> Number {
        Number::Real(duration.as_secs_f64())
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 us are 285 years")]
pub(super) fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

impl EncodeCounterValue for Number {
    fn encode(&self, encoder: &mut CounterValueEncoder<'_>) -> fmt::Result {
        match self {
            Number::Whole(whole) => EncodeCounterValue::encode(whole, encoder),
            Number::Real(real) => EncodeCounterValue::encode(real, encoder),
        }
    }
}

impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match self {
            Number::Whole(whole) => EncodeGaugeValue::encode(whole, encoder),
            Number::Real(real) => EncodeGaugeValue::encode(real, encoder),
        }
    }
}

/// Takes families, one after the other. What it does not want of them is not even made.
pub(super) trait Sink {
    /// A family of counters, gauges, or an info.
    fn numbers<'a>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = (Labels<'a>, Number)>,
    ) -> fmt::Result;

    /// A family of histograms.
    fn times<'a>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = (Labels<'a>, Durations)>,
    ) -> fmt::Result;
}

/// What is being written.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) encoder: DescriptorEncoder<'a>,
}

impl Sink for Page<'_> {
    fn numbers<'a>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = (Labels<'a>, Number)>,
    ) -> fmt::Result {
        self.family(family, samples, |encoder, labels, number| match family.kind {
            Kind::Counter => encoder.encode_counter::<NoLabelSet, _, f64>(number, None),
            Kind::Gauge | Kind::Histogram => encoder.encode_gauge(number),
            Kind::Info => encoder.encode_info(&labels),
        })
    }

    fn times<'a>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = (Labels<'a>, Durations)>,
    ) -> fmt::Result {
        self.family(family, samples, |encoder, _, durations| {
            let buckets: Vec<(f64, u64)> = durations
                .buckets()
                .map(|(below_us, count)| (below_us.map_or(f64::INFINITY, seconds), count))
                .collect();
            encoder.encode_histogram::<NoLabelSet>(
                seconds(durations.sum_us()),
                durations.count(),
                &buckets,
                None,
            )
        })
    }
}

impl Page<'_> {
    fn family<'a, T>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = (Labels<'a>, T)>,
        write: impl Fn(&mut MetricEncoder<'_>, &[(&'static str, Cow<'a, str>)], &T) -> fmt::Result,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let (unit, kind) = (unit_of(family.measure), kind_of(family.kind));
        let mut metric = self.encoder.encode_descriptor(family.name, family.help, unit, kind)?;
        for (labels, value) in samples {
            let labels = &labels[..];
            // An info writes its labels itself, and no labels would become empty braces.
            if labels.is_empty() || family.kind == Kind::Info {
                write(&mut metric, labels, &value)?;
            } else {
                write(&mut metric.encode_family(&labels)?, labels, &value)?;
            }
        }
        Ok(())
    }
}

const fn kind_of(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Info => MetricType::Info,
    }
}

const fn unit_of(measure: Measure) -> Option<&'static Unit> {
    match measure {
        Measure::Count => None,
        Measure::Seconds => Some(&Unit::Seconds),
        Measure::Bytes => Some(&Unit::Bytes),
    }
}
