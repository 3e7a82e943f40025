//! What was written is read again; what was cut off, broken or made up is found out.

use super::*;
use proptest::prelude::*;

#[derive(Debug, Clone, PartialEq)]
struct Owned {
    kind: Kind,
    sent: bool,
    at: u64,
    epoch: u64,
    body: Result<Vec<u8>, u64>,
}

impl Owned {
    fn record(&self) -> Record<'_> {
        let body = match &self.body {
            Ok(bytes) => Body::Whole(bytes),
            Err(length) => Body::Omitted(*length),
        };
        Record { kind: self.kind, sent: self.sent, at: self.at, epoch: self.epoch, body }
    }

    fn of(record: Record<'_>) -> Self {
        let body = match record.body {
            Body::Whole(bytes) => Ok(bytes.to_vec()),
            Body::Omitted(length) => Err(length),
        };
        Self { kind: record.kind, sent: record.sent, at: record.at, epoch: record.epoch, body }
    }
}

fn record() -> impl Strategy<Value = Owned> {
    let number = || prop_oneof![0..300_u64, any::<u64>()];
    let body = prop_oneof![
        "\\PC{0,40}".prop_map(|text| Ok(text.into_bytes())),
        number().prop_map(Err),
        (0..3000_usize).prop_map(|length| Ok(vec![b'x'; length])),
    ];
    (proptest::sample::select(&Kind::ALL[..]), any::<bool>(), number(), number(), body)
        .prop_map(|(kind, sent, at, epoch, body)| Owned { kind, sent, at, epoch, body })
}

/// A recording with these blocks, and where each of them ends.
fn written(blocks: &[Vec<Owned>]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = MAGIC.to_vec();
    let mut sealer = Sealer::new();
    let mut ends = vec![bytes.len()];
    for records in blocks {
        let mut block = Block::default();
        records.iter().for_each(|record| block.add(&record.record()));
        sealer.seal(&block, &mut bytes).unwrap();
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn read(bytes: &[u8]) -> Option<(Vec<Owned>, Tail, u64)> {
    let mut reader = Reader::new(bytes).unwrap().ok()?;
    let mut records = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        records.push(Owned::of(record));
    }
    assert_eq!(reader.next().unwrap(), None);
    Some((records, reader.tail(), reader.good()))
}

/// The records of the first blocks.
fn first(blocks: &[Vec<Owned>], count: usize) -> Vec<Owned> {
    blocks.iter().take(count).flatten().cloned().collect()
}

fn text(text: &str) -> Owned {
    Owned { kind: Kind::Text, sent: false, at: 7, epoch: 1, body: Ok(text.into()) }
}

proptest! {
    #[test]
    fn what_was_written_is_read(blocks in prop::collection::vec(prop::collection::vec(record(), 0..20), 0..5)) {
        let (bytes, _) = written(&blocks);
        let (records, tail, good) = read(&bytes).unwrap();
        prop_assert_eq!(records, first(&blocks, blocks.len()));
        prop_assert_eq!(tail, Tail::Clean);
        prop_assert_eq!(good, bytes.len() as u64);
    }

    #[test]
    fn a_cut_at_any_byte_loses_the_block_that_it_hit_and_nothing_else(
        blocks in prop::collection::vec(prop::collection::vec(record(), 0..6), 1..4),
    ) {
        let (bytes, ends) = written(&blocks);
        for cut in 0..bytes.len() {
            let (records, tail, good) = read(&bytes[..cut]).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count();
            prop_assert_eq!(records, first(&blocks, whole.saturating_sub(1)), "cut at {}", cut);
            prop_assert_eq!(good, ends.iter().filter(|end| **end <= cut).max().map_or(0, |end| *end as u64));
            let clean = ends.contains(&cut);
            prop_assert_eq!(tail, if clean { Tail::Clean } else { Tail::Torn }, "cut at {}", cut);
        }
    }

    #[test]
    fn a_byte_that_changed_anywhere_is_found(
        blocks in prop::collection::vec(prop::collection::vec(record(), 1..6), 1..4),
        at in any::<prop::sample::Index>(),
        by in 1..=255_u8,
    ) {
        let (mut bytes, ends) = written(&blocks);
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        match read(&bytes) {
            None => prop_assert!(at < MAGIC.len()),
            Some((records, tail, good)) => {
                let before = ends.iter().filter(|end| **end <= at).count();
                prop_assert_eq!(records, first(&blocks, before - 1));
                prop_assert_ne!(tail, Tail::Clean);
                prop_assert_eq!(good, ends[before - 1] as u64);
            }
        }
    }

    #[test]
    fn anything_at_all_is_read_to_an_end(rest in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(&rest);
        let (_, tail, good) = read(&bytes).unwrap();
        prop_assert!(good == bytes.len() as u64 || tail != Tail::Clean);
        let _ = read(&rest);
    }

    /// With a right checksum around them too.
    #[test]
    fn any_content_at_all_is_read_to_an_end(
        how in 0..3_u8,
        claimed in prop_oneof![0..50_u32, any::<u32>()],
        stored in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(block(how, claimed, &stored));
        let (records, tail, good) = read(&bytes).unwrap();
        if tail == Tail::Clean {
            prop_assert_eq!(good, bytes.len() as u64);
        } else {
            prop_assert!(records.is_empty() && matches!(tail, Tail::Damaged(_)), "{:?}", tail);
        }
    }
}

fn block(how: u8, claimed: u32, stored: &[u8]) -> Vec<u8> {
    let mut bytes = vec![how];
    bytes.extend(u32::try_from(stored.len()).unwrap().to_le_bytes());
    bytes.extend(claimed.to_le_bytes());
    let mut crc = flate2::Crc::new();
    crc.update(&bytes);
    crc.update(stored);
    bytes.extend(crc.sum().to_le_bytes());
    bytes.extend(stored);
    bytes
}

#[test]
fn the_kinds_have_the_numbers_of_their_places() {
    for (at, kind) in Kind::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(kind.number()), at);
        assert_eq!(Kind::of(kind.number()), Some(kind));
    }
    assert_eq!(Kind::of(8), None);
}

#[test]
fn what_is_no_recording_is_refused() {
    assert!(read(b"{\"event\":\"message\"}").is_none());
    let foreign = |bytes: &[u8]| Reader::new(bytes).unwrap().unwrap_err();
    assert_eq!(foreign(b"LFREC\r\n\x02more"), Foreign::Later);
    assert_eq!(foreign(b"LFREC\r\n\x00more"), Foreign::Other);
    assert_eq!(foreign(b"LFREC\n\x01"), Foreign::Other, "line ends were converted");
    assert_eq!(read(b"LFR").unwrap(), (Vec::new(), Tail::Torn, 0));
    assert_eq!(read(b"").unwrap(), (Vec::new(), Tail::Torn, 0));
}

#[test]
fn huge_lengths_cost_nothing() {
    for how in [AS_IT_IS, AS_DEFLATED] {
        for claimed in [u32::MAX, 1 << 30, 1 << 24] {
            let mut bytes = MAGIC.to_vec();
            bytes.push(how);
            bytes.extend(claimed.to_le_bytes());
            bytes.extend(claimed.to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend([0; 100]);
            let mut reader = Reader::new(bytes.as_slice()).unwrap().unwrap();
            assert_eq!(reader.next().unwrap(), None);
            assert_ne!(reader.tail(), Tail::Clean);
            assert!(reader.memory() < 1 << 20);
        }
    }
    // A record that claims more than its block has.
    let mut content = vec![Kind::Binary.number(), 0, 1];
    content.extend([0xFF; 9]);
    content.push(1);
    let mut bytes = MAGIC.to_vec();
    bytes.extend(block(AS_IT_IS, u32::try_from(content.len()).unwrap(), &content));
    assert!(matches!(read(&bytes).unwrap().1, Tail::Damaged(_)));
}

/// Deflated zeros are a thousandth of what they become.
#[test]
fn a_block_inflates_to_no_more_than_it_says() {
    use std::io::Write;
    let mut deflater = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    deflater.write_all(&vec![0; 8 << 20]).unwrap();
    let mut bytes = MAGIC.to_vec();
    bytes.extend(block(AS_DEFLATED, 1000, &deflater.finish().unwrap()));
    let mut reader = Reader::new(bytes.as_slice()).unwrap().unwrap();
    assert_eq!(reader.next().unwrap(), None);
    assert!(matches!(reader.tail(), Tail::Damaged(_)));
    assert!(reader.memory() < 1 << 20);
}

#[test]
fn damage_before_the_end_is_no_torn_tail() {
    let (mut bytes, ends) = written(&[vec![text("a")], vec![text("b")], vec![text("c")]]);
    bytes[ends[2] - 1] ^= 1;
    let (records, tail, good) = read(&bytes).unwrap();
    assert_eq!(records, [text("a")]);
    assert!(matches!(tail, Tail::Damaged(_)));
    assert_eq!(good, ends[1] as u64);
    // In the last block it can't be told from a write that did not get through.
    let (mut bytes, _) = written(&[vec![text("a")]]);
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(read(&bytes).unwrap().1, Tail::Torn);
}

#[test]
fn kinds_and_flags_of_a_later_version_are_passed_over() {
    let text = Kind::Text.number();
    let content = [9, 2, 1, 3, 1, 2, 3, text | 0x40, 0, 1, 1, 0xFF, text, 2, 1, 1, b'x'];
    let mut bytes = MAGIC.to_vec();
    bytes.extend(block(AS_IT_IS, u32::try_from(content.len()).unwrap(), &content));
    let (records, tail, _) = read(&bytes).unwrap();
    assert_eq!(records, [Owned { at: 2, ..self::text("x") }]);
    assert_eq!(tail, Tail::Clean);
}

#[test]
fn text_that_is_not_utf_8_is_damage() {
    let content = [Kind::Text.number(), 2, 1, 1, 0xFF];
    let mut bytes = MAGIC.to_vec();
    bytes.extend(block(AS_IT_IS, 5, &content));
    assert!(matches!(read(&bytes).unwrap().1, Tail::Damaged(_)));
}

#[test]
fn a_record_takes_five_bytes_and_its_payload_and_compresses_well() {
    let mut block = Block::default();
    let payload = r#"{"topic":"btc","seq":17,"t_ns":1700000000000000000}"#;
    for n in 0..1000 {
        let body = Body::Whole(payload.as_bytes());
        block.add(&Record { kind: Kind::Text, sent: false, at: n * 50, epoch: 1, body });
    }
    assert!(block.len() <= 1000 * (payload.len() + 5));
    let mut bytes = Vec::new();
    Sealer::new().seal(&block, &mut bytes).unwrap();
    assert!(bytes.len() < block.len() / 20, "{}", bytes.len());
}
