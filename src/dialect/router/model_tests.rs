//! The router against trying each matcher on its own, under random inserts and removes.

use super::*;
use crate::dialect::json::pointer::{Pointer, Token};
use crate::dialect::json::scalar::Scalar;
use crate::dialect::json::scan;
use crate::dialect::matcher::contains::{Leaf, flatten};
use crate::message::Payload;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where a value is compared, so that the most exact wins.
type Place = Option<Vec<Token>>;

/// How a value is compared.
#[derive(Clone, PartialEq)]
enum How {
    Equal(Value),
    Prefix(Vec<u8>),
}

/// One of the ways in which a matcher is met.
#[derive(Clone, Default)]
struct Way {
    all: Vec<Matcher>,
    compared: Vec<(Place, How)>,
}

fn ways(matcher: &Matcher) -> Vec<Way> {
    let place = |pointer: &str| Some(Pointer::parse(pointer).unwrap().tokens().to_vec());
    let one = |compared: Vec<(Place, How)>| vec![Way { all: vec![matcher.clone()], compared }];
    match matcher {
        Matcher::Any(matchers) => matchers.iter().flat_map(ways).collect(),
        Matcher::All(matchers) => matchers.iter().fold(vec![Way::default()], |product, matcher| {
            let factor = ways(matcher);
            let both = |a: &Way, b: &Way| Way {
                all: [&*a.all, &*b.all].concat(),
                compared: [&*a.compared, &*b.compared].concat(),
            };
            product.iter().flat_map(|a| factor.iter().map(move |b| both(a, b))).collect()
        }),
        Matcher::OneOf { pointer, one_of } => {
            one_of.iter().flat_map(|value| ways(&Matcher::pointer(pointer.clone(), value.clone()))).collect()
        }
        Matcher::Pointer { pointer, equals } => one(vec![(place(pointer), How::Equal(equals.clone()))]),
        Matcher::StartsWith { pointer, starts_with } => {
            one(vec![(place(pointer), How::Prefix(starts_with.clone().into_bytes()))])
        }
        Matcher::Contains { pointer, contains } => {
            let mut compared = Vec::new();
            flatten(contains, &Pointer::parse(pointer).unwrap(), &mut |pointer, leaf| {
                if let Leaf::Equal(value) = leaf {
                    compared.push((Some(pointer.tokens().to_vec()), How::Equal(value)));
                }
            });
            one(compared)
        }
        Matcher::Text(text) => one(vec![(None, How::Equal(json!(text)))]),
        Matcher::Prefix(text) => one(vec![(None, How::Prefix(text.clone().into_bytes()))]),
        Matcher::Binary(bytes) => one(vec![(None, How::Prefix(bytes.clone()))]),
        Matcher::Exists { .. } | Matcher::Bits { .. } | Matcher::Not(_) | Matcher::Closure(_) => one(vec![]),
    }
}

/// Only what takes part: a beginning does not where the same way says more of that value.
fn competing(way: &Way) -> Vec<(Place, How)> {
    let says_more = |(place, how): &(Place, How)| {
        let How::Prefix(prefix) = how else { return false };
        way.compared.iter().any(|(other, how)| {
            other == place
                && match how {
                    How::Equal(_) => true,
                    How::Prefix(longer) => longer.len() > prefix.len() && longer.starts_with(prefix),
                }
        })
    };
    way.compared.iter().filter(|compared| !says_more(compared)).cloned().collect()
}

fn values(payload: Payload<'_>, place: &Place) -> Vec<Scalar<'static>> {
    let mut out = Vec::new();
    let bytes = payload.as_bytes();
    match place {
        None => out.push(Scalar::Text(bytes.to_vec().into())),
        Some(_) if !scan::is_container(bytes) => {}
        Some(tokens) => {
            let pointer = tokens.iter().fold(Pointer::default(), |all, token| all.join(token.clone()));
            scan::values(bytes, &pointer, &mut |raw| {
                if let Ok(value) = serde_json::from_slice::<Value>(&raw)
                    && let Some(Scalar::Text(text)) = Scalar::of(&value)
                {
                    out.push(Scalar::Text(text.into_owned().into()));
                }
                true
            });
        }
    }
    out
}

/// How exactly a value is compared; 0: it is not met.
fn exactness(value: &Scalar<'_>, how: &How) -> usize {
    match (value, how) {
        (value, How::Equal(own)) if Scalar::of(own).as_ref() == Some(value) => usize::MAX,
        (Scalar::Text(text), How::Prefix(prefix)) if text.starts_with(prefix) => prefix.len() + 1,
        _ => 0,
    }
}

type Owned = BTreeMap<Owner, Option<Matcher>>;

/// What the router should say.
fn expected(owners: &Owned, payload: Payload<'_>) -> (Option<u32>, Option<u64>, Vec<u64>) {
    let mut met: Vec<(u64, Way)> = Vec::new();
    for (owner, matcher) in owners {
        match (owner, matcher) {
            (Owner::Rule(rule), Some(matcher)) if matcher.matches(payload) => {
                return (Some(*rule), None, vec![]);
            }
            (Owner::Request(request), Some(matcher)) if matcher.matches(payload) => {
                return (None, Some(*request), vec![]);
            }
            (Owner::Data(key), None) => met.push((*key, Way::default())),
            (Owner::Data(key), Some(matcher)) => {
                let before = met.len();
                let ways = ways(matcher).into_iter();
                met.extend(
                    ways.filter(|way| way.all.iter().all(|m| m.matches(payload))).map(|way| (*key, way)),
                );
                assert_eq!(met.len() > before, matcher.matches(payload), "{matcher:?}");
            }
            _ => {}
        }
    }
    let mut met: Vec<(u64, Vec<(Place, How)>)> =
        met.into_iter().map(|(key, way)| (key, competing(&way))).collect();
    let mut places: Vec<Place> =
        met.iter().flat_map(|(_, compared)| compared.iter().map(|(place, _)| place.clone())).collect();
    places.sort();
    places.dedup();
    for place in places {
        let values = values(payload, &place);
        let at = |compared: &[(Place, How)]| -> Vec<How> {
            compared.iter().filter(|(own, _)| *own == place).map(|(_, how)| how.clone()).collect()
        };
        let best: Vec<usize> = values
            .iter()
            .map(|value| {
                let all = met.iter().flat_map(|(_, compared)| at(compared));
                all.map(|how| exactness(value, &how)).max().unwrap_or(0)
            })
            .collect();
        met.retain(|(_, compared)| {
            at(compared).iter().filter(|how| matches!(how, How::Prefix(_))).all(|how| {
                let mut values = values.iter().zip(&best);
                values.any(|(value, best)| exactness(value, how) > 0 && exactness(value, how) == *best)
            })
        });
    }
    let mut keys: Vec<u64> = met.into_iter().map(|(key, _)| key).collect();
    keys.dedup();
    (None, None, keys)
}

/// JSON with equal keys, escapes, and JSON in strings.
#[derive(Debug, Clone)]
enum Doc {
    Raw(&'static str),
    Array(Vec<Self>),
    Object(Vec<(&'static str, Self)>),
    Inside(Box<Self>),
}

impl Doc {
    fn text(&self) -> String {
        match self {
            Self::Raw(text) => (*text).to_owned(),
            Self::Array(items) => {
                format!("[{}]", items.iter().map(Self::text).collect::<Vec<_>>().join(" , "))
            }
            Self::Object(members) => {
                let members: Vec<_> =
                    members.iter().map(|(key, doc)| format!("\"{key}\":{}", doc.text())).collect();
                format!("{{{}}}", members.join(","))
            }
            Self::Inside(doc) => json!(doc.text()).to_string(),
        }
    }
}

fn docs() -> impl Strategy<Value = Doc> {
    let leaf = prop::sample::select(
        &[
            r#""order""#,
            r#""orderbook""#,
            r#""orderbook.BTC""#,
            r#""\u006frder""#,
            r#""o""#,
            r#""""#,
            r#""x""#,
            "1",
            "1.0",
            "9007199254740993",
            "9007199254740992",
            "9007199254740992.0",
            "true",
            "null",
            r#""1""#,
        ][..],
    )
    .prop_map(Doc::Raw);
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop::sample::select(&["a", "b", "c", "\\u0061", "0"][..]);
        prop_oneof![
            2 => prop::collection::vec(inner.clone(), 0..4).prop_map(Doc::Array),
            4 => prop::collection::vec((key, inner.clone()), 0..4).prop_map(Doc::Object),
            1 => inner.prop_map(|doc| Doc::Inside(Box::new(doc))),
        ]
    })
}

fn pointers() -> impl Strategy<Value = String> {
    let token = prop::sample::select(&["a", "a", "b", "c", "0", "1", "*", "@json"][..]);
    prop::collection::vec(token, 1..4).prop_filter_map("too many", |tokens| {
        let pointer = format!("/{}", tokens.join("/"));
        Pointer::parse(&pointer).ok().map(|_| pointer)
    })
}

fn scalars() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        json!("order"),
        json!("orderbook"),
        json!("orderbook.BTC"),
        json!("o"),
        json!(""),
        json!("x"),
        json!(1),
        json!(1.0),
        json!(9_007_199_254_740_993_u64),
        json!(9_007_199_254_740_992_u64),
        json!(9_007_199_254_740_992_f64),
        json!(true),
        json!(null),
    ])
}

fn contents() -> impl Strategy<Value = Value> {
    scalars().prop_recursive(2, 6, 2, |inner| {
        let key = prop::sample::select(&["a", "b", "0"][..]).prop_map(str::to_owned);
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            3 => prop::collection::btree_map(key, inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn beginnings() -> impl Strategy<Value = String> {
    prop::sample::select(&["o", "or", "order", "orderb", "orderbook", "x", "{\"", "["][..])
        .prop_map(str::to_owned)
}

fn matchers() -> impl Strategy<Value = Matcher> {
    let leaf = prop_oneof![
        6 => (pointers(), scalars()).prop_map(|(p, v)| Matcher::pointer(p, v)),
        4 => (pointers(), beginnings()).prop_map(|(p, s)| Matcher::starts_with(p, s)),
        2 => (pointers(), prop::collection::vec(scalars(), 1..4)).prop_map(|(p, v)| Matcher::one_of(p, v)),
        2 => (pointers(), any::<bool>()).prop_map(|(pointer, exists)| Matcher::Exists { pointer, exists }),
        1 => (pointers(), 1_u64..4).prop_map(|(p, bits)| Matcher::bits(p, bits)),
        2 => (pointers(), contents()).prop_map(|(p, v)| Matcher::contains(p, v)),
        1 => contents().prop_map(|v| Matcher::contains("", v)),
        3 => beginnings().prop_map(Matcher::text),
        2 => beginnings().prop_map(Matcher::prefix),
        1 => beginnings().prop_map(|b| Matcher::binary(b.into_bytes())),
        1 => Just(Matcher::closure(|payload| payload.as_bytes().len() % 2 == 0)),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            3 => prop::collection::vec(inner.clone(), 1..4).prop_map(Matcher::all),
            2 => prop::collection::vec(inner.clone(), 1..4).prop_map(Matcher::any),
            1 => inner.prop_map(Matcher::not),
        ]
    })
}

#[derive(Debug, Clone)]
enum Op {
    Insert(Owner, Option<Matcher>),
    Remove(Owner),
    Classify(String, bool),
}

fn ops() -> impl Strategy<Value = Op> {
    let owner = || {
        prop_oneof![
            1 => (0..2_u32).prop_map(Owner::Rule),
            1 => (0..2_u64).prop_map(Owner::Request),
            8 => (0..9_u64).prop_map(Owner::Data),
        ]
    };
    let text = prop_oneof![
        6 => docs().prop_map(|doc| doc.text()),
        2 => beginnings(),
    ];
    prop_oneof![
        6 => (owner(), prop::option::weighted(0.95, matchers())).prop_map(|(o, m)| Op::Insert(o, m)),
        2 => owner().prop_map(Op::Remove),
        8 => (text, any::<bool>()).prop_map(|(text, binary)| Op::Classify(text, binary)),
    ]
}

fn name(key: u64) -> SubscriptionId {
    SubscriptionId::from(format!("s{key}"))
}

fn check(ops: Vec<Op>) {
    let (mut router, mut owners, mut hit) = (Router::default(), Owned::new(), Hit::default());
    for op in ops {
        match op {
            Op::Insert(owner, matcher) => {
                let id = match owner {
                    Owner::Data(key) => Some(name(key)),
                    _ => None,
                };
                router.insert(owner, id.as_ref(), matcher.as_ref());
                owners.insert(owner, matcher);
            }
            Op::Remove(owner) => {
                router.remove(owner);
                owners.remove(&owner);
            }
            Op::Classify(text, binary) => {
                let payload = if binary { Payload::Binary(text.as_bytes()) } else { Payload::Text(&text) };
                router.classify(payload, &mut hit);
                let (rule, request, keys) = expected(&owners, payload);
                assert_eq!((hit.rule, hit.request), (rule, request), "{text} of {owners:#?}");
                assert_eq!(hit.keys, keys, "{text} of {owners:#?}");
                let names = (!keys.is_empty()).then(|| keys.iter().map(|key| name(*key)).collect());
                assert_eq!(router.names().map(|names| &**names), names.as_ref());
            }
        }
    }
    for owner in owners.into_keys() {
        router.remove(owner);
    }
    assert!(router.is_trivial() && router.trie.is_empty() && router.is_bare());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn agrees_with_trying_each(ops in prop::collection::vec(ops(), 1..30)) {
        check(ops);
    }

    #[test]
    fn agrees_on_whatever_is_cut_off(doc in docs(), cut: prop::sample::Index, matchers in prop::collection::vec(matchers(), 1..6)) {
        let text = doc.text();
        let bytes = &text.as_bytes()[..cut.index(text.len() + 1)];
        let mut router = Router::default();
        for (key, matcher) in (0..).zip(&matchers) {
            router.insert(Owner::Data(key), Some(&name(key)), Some(matcher));
        }
        router.classify(Payload::Binary(bytes), &mut Hit::default());
    }
}
