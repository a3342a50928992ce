//! Prometheus text out of declared metrics.

use culvert_telemetry::{Kind, Metric};
use prometheus::TextEncoder;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric as Sample, MetricFamily, MetricType};
use std::collections::BTreeMap;

/// Collects samples; a family appears where it has at least one.
#[derive(Default)]
pub struct Exposition {
    families: BTreeMap<&'static str, MetricFamily>,
}

impl Exposition {
    /// `values` stand for the metric's labels, in their order.
    pub fn add(&mut self, metric: Metric, values: &[&str], value: f64) {
        debug_assert_eq!(metric.labels.len(), values.len(), "{} has the labels {:?}", metric.name, metric.labels);
        let family = self.families.entry(metric.name).or_insert_with(|| {
            let mut family = MetricFamily::default();
            family.set_name(metric.name.to_owned());
            family.set_help(metric.help.to_owned());
            family.set_field_type(match metric.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
            });
            family
        });
        let mut sample = Sample::default();
        let labels = metric.labels.iter().zip(values).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        sample.set_label(labels.collect());
        let value = value * metric.scale as f64;
        match metric.kind {
            Kind::Counter => {
                let mut counter = Counter::default();
                counter.set_value(value);
                sample.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                sample.set_gauge(gauge);
            }
        }
        family.mut_metric().push(sample);
    }

    pub fn text(self) -> String {
        let families: Vec<MetricFamily> = self.families.into_values().collect();
        // The encoder refuses empty families only, and a family here has a sample.
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use culvert_telemetry::metrics;

    #[test]
    fn labels_are_escaped_and_families_described() {
        let mut exposition = Exposition::default();
        exposition.add(metrics::CONNECTION_UP, &["a \"b\"\n"], 1.0);
        let text = exposition.text();
        assert!(text.contains("# TYPE culvert_connection_up gauge"), "{text}");
        assert!(text.contains(r#"culvert_connection_up{connection="a \"b\"\n"} 1"#), "{text}");
    }
}
