//! Fixed, missing and learned limits as data.

use super::*;

fn read(data: &Value) -> StaleAfter {
    serde_json::from_value(data.clone()).unwrap()
}

#[test]
fn each_form_means_what_it_says() {
    let minute = Duration::from_secs(60);
    for (data, expected) in [
        (json!("60s"), StaleAfter::After(minute)),
        (json!("none"), StaleAfter::None),
        (json!("adaptive"), Adaptive::new().into()),
        (json!({"adaptive": {}}), Adaptive::new().into()),
        (json!({"adaptive": {"factor": 3, "floor": "2s"}}), {
            Adaptive::new().factor(3.0).floor(Duration::from_secs(2)).into()
        }),
        (json!({"adaptive": {"ceiling": "5m", "warm_up": "1h"}}), {
            Adaptive::new().ceiling(5 * minute).warm_up(60 * minute).into()
        }),
    ] {
        let limit = read(&data);
        assert_eq!(limit, expected, "{data}");
        assert_eq!(read(&serde_json::to_value(limit).unwrap()), limit, "{data}");
        assert_eq!(open(json!({"stale_after": data})), Ok(()));
        assert_eq!(open(json!({"defaults": {"stale_after": data}})), Ok(()));
    }
    assert_eq!(serde_json::to_value(StaleAfter::from(minute)).unwrap(), json!("1m"));
    assert_eq!(serde_json::to_value(StaleAfter::None).unwrap(), json!("none"));
}

#[test]
fn every_default_is_the_documented_one() {
    let value = serde_json::to_value(Adaptive::default()).unwrap();
    let fields = documented(include_str!("../stale_after.rs"));
    assert_eq!(fields.len(), value.as_object().unwrap().len());
    for (_, field, default) in fields {
        let default = default.unwrap_or_else(|| panic!("{field} names no default"));
        let is_number = default.parse().is_ok_and(|number: f64| value[&field].as_f64() == Some(number));
        assert!(is_number || means(&default, &value[&field]), "{field}: {default}, is {}", value[&field]);
    }
}

#[test]
fn what_is_wrong_is_said_with_its_path() {
    for (data, path) in [
        (json!(60), ""),
        (json!("adaptiv"), ""),
        (json!("0s"), ""),
        (json!(["adaptive"]), ""),
        (json!({}), ""),
        (json!({"adaptve": {}}), ".adaptve"),
        (json!({"adaptive": "30s"}), ".adaptive"),
        (json!({"adaptive": [4]}), ".adaptive"),
        (json!({"adaptive": {"factr": 4}}), ".adaptive.factr"),
        (json!({"adaptive": {"factor": "4"}}), ".adaptive.factor"),
        (json!({"adaptive": {"factor": 0.99}}), ".adaptive.factor"),
        (json!({"adaptive": {"factor": 101}}), ".adaptive.factor"),
        (json!({"adaptive": {"floor": "none"}}), ".adaptive.floor"),
        (json!({"adaptive": {"floor": "0s"}}), ".adaptive.floor"),
        (json!({"adaptive": {"floor": "61s"}}), ".adaptive.floor"),
        (json!({"adaptive": {"ceiling": "900ms"}}), ".adaptive.floor"),
        (json!({"adaptive": {"ceiling": "366days"}}), ".adaptive.ceiling"),
        (json!({"adaptive": {"warm_up": "0s"}}), ".adaptive.warm_up"),
    ] {
        for (config, place) in [
            (json!({"stale_after": data}), "stale_after"),
            (json!({"defaults": {"stale_after": data}}), "defaults.stale_after"),
            (json!({"subscriptions": [{"id": "a", "stale_after": data}]}), "subscriptions[0].stale_after"),
        ] {
            let (found, problem) = config_error(open(config));
            assert_eq!(found, format!("{place}{path}"), "{data}: {problem}");
            assert!(problem.len() > 10, "{problem}");
        }
    }
    for factor in [f64::NAN, f64::INFINITY, -4.0] {
        let mut config = FeedConfig::new(ANY_URL);
        config.stale_after = Adaptive::new().factor(factor).into();
        assert_eq!(config_error(config.validate()).0, "stale_after.adaptive.factor");
    }
    let slip = json!({"stale_after": {"adaptive": {"celing": "5m"}}});
    assert!(config_error(open(slip)).1.contains("did you mean `ceiling`?"));
}

#[test]
fn it_can_be_learned_where_data_is_awaited_and_nowhere_else() {
    for (config, path) in [
        (json!({"defaults": {"first_data_within": "adaptive"}}), "defaults.first_data_within"),
        (json!({"ping": {"after": {"adaptive": {}}}}), "ping.after"),
        (json!({"reconnect": {"max_downtime": "adaptive"}}), "reconnect.max_downtime"),
    ] {
        assert_eq!(config_error(open(config)).0, path);
    }
}

#[test]
fn the_first_data_has_until_the_ceiling() {
    let mut config = FeedConfig::new(ANY_URL);
    let ceiling = Duration::from_secs(300);
    config.stale_after = Adaptive::new().ceiling(ceiling).into();
    let terms = config.resolved(&Subscription::new("a")).terms;
    assert_eq!(terms.stale_after, Some(config.stale_after));
    assert_eq!(terms.first_data_within, Some(Limit::After(ceiling)));
    let own = Subscription::new("b").stale_after(Duration::from_secs(5));
    assert_eq!(config.resolved(&own).terms.first_data_within, Some(Limit::After(Duration::from_secs(5))));
}
