//! The same families in Prometheus' older text format, version 0.0.4, for clients that take nothing else.
//!
//! The samples are the same. The differences are in the descriptions: a counter and an info have their ending there, an
//! info is a gauge, and neither units nor an end are told.

/// Turns OpenMetrics text, as the exporter writes it, into the older format.
pub(super) fn classic(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // A HELP line comes before the TYPE line that says what ending it needs.
    let mut help: Option<(&str, &str)> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (ending, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                same => ("", same),
            };
            if let Some((_, help)) = help.take() {
                out.push_str(&format!("# HELP {name}{ending} {help}\n"));
            }
            out.push_str(&format!("# TYPE {name}{ending} {kind}\n"));
        } else if !line.starts_with('#') {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_change_and_samples_do_not() {
        let text = "# HELP a_seconds Time.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                    a_seconds_total{x=\"# TYPE\"} 1.5\n# HELP b Which.\n# TYPE b info\nb_info{v=\"1\"} 1\n\
                    # HELP c Now.\n# TYPE c gauge\nc 2\n# EOF\n";
        let want = "# HELP a_seconds_total Time.\n# TYPE a_seconds_total counter\n\
                    a_seconds_total{x=\"# TYPE\"} 1.5\n# HELP b_info Which.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n\
                    # HELP c Now.\n# TYPE c gauge\nc 2\n";
        assert_eq!(classic(text), want);
    }
}
