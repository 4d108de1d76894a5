//! What goes in comes out, byte for byte; what is damaged is told.

use perennial_schema::content::text_content;
use perennial_schema::event::{Body, Empty, Message};
use proptest::prelude::*;

use super::*;

fn event(id: u128, payload: String, private: Option<String>, actor: Option<String>) -> Draft {
    let body = Body::AgentThinking(Empty {});
    Draft {
        id: EventId::from_uuid(Uuid::from_u128(id)),
        payload,
        private,
        actor,
        body,
    }
}

fn said(id: u128, at: i64) -> Draft {
    let body = Body::AgentMessage(Message {
        content: text_content("so it is"),
    });
    Draft::new(
        EventId::from_uuid(Uuid::from_u128(id)),
        body,
        Timestamp::from_micros(at),
    )
}

fn commit(packed: &Packed) -> Commit<'_> {
    Commit {
        session: SessionId::from_uuid(Uuid::from_u128(7)),
        first_seq: 5,
        turn: 3,
        at: Timestamp::from_micros(1),
        ids: &packed.ids,
        events: &packed.events,
    }
}

fn records(commit: &Commit<'_>) -> Result<Vec<Record>, StoreError> {
    let mut records = Vec::new();
    commit.visit(|entry| {
        records.push(commit.record(entry)?);
        Ok(true)
    })?;
    Ok(records)
}

fn same(draft: &Draft, record: &Record) {
    assert_eq!(record.id, draft.id);
    assert_eq!(record.kind, draft.body.kind());
    assert_eq!(record.payload, draft.payload);
    assert_eq!(record.private, draft.private);
    assert_eq!(record.actor, draft.actor);
}

fn any_event() -> impl Strategy<Value = Draft> {
    let own = (
        any::<u128>(),
        any::<String>(),
        any::<Option<String>>(),
        any::<Option<String>>(),
    );
    prop_oneof![
        own.prop_map(|(id, payload, private, actor)| event(id, payload, private, actor)),
        (any::<u128>(), 0..4_000_000_000_000_000_i64).prop_map(|(id, at)| said(id, at)),
    ]
}

proptest! {
    #[test]
    fn bytes_come_back_as_they_went(drafts in prop::collection::vec(any_event(), 0..8), cut in 0..8_usize) {
        let packed = pack(&drafts);
        let commit = commit(&packed);
        let back = records(&commit).unwrap();
        prop_assert_eq!(back.len(), drafts.len());
        for ((draft, record), seq) in drafts.iter().zip(&back).zip(5..) {
            same(draft, record);
            prop_assert_eq!((record.seq, record.turn), (seq, 3));
        }
        let cut = cut.min(drafts.len());
        let first = commit.first(cut as u64).unwrap();
        prop_assert_eq!(&pack(&drafts[..cut]), &first);
    }

    #[test]
    fn damage_is_told_and_no_panic(drafts in prop::collection::vec(any_event(), 1..4), at in any::<usize>(), byte in any::<u8>()) {
        let mut packed = pack(&drafts);
        let at = at % packed.events.len();
        packed.events[at] ^= byte;
        if let Err(error) = records(&commit(&packed)) {
            let is_told = matches!(error, StoreError::Inconsistent { table: "commits", .. });
            prop_assert!(is_told);
        }
        packed.events.truncate(at);
        prop_assert!(records(&commit(&packed)).is_err());
    }
}

#[test]
fn what_is_known_is_not_stored() {
    let draft = said(9, 1_795_257_600_000_000);
    let packed = pack(std::slice::from_ref(&draft));
    assert!(packed.events.len() * 2 < draft.payload.len(), "{}", packed.events.len());
    same(&draft, &records(&commit(&packed)).unwrap()[0]);
}

/// As a migration writes them.
#[test]
fn plain_rows_are_read() {
    let mut events = vec![PLAIN, flag::ACTOR | flag::ACTOR_IS_JSON | flag::THREAD];
    for field in ["user.message", "\"who\\u0000\"", "thread", "{\"a\":1}"] {
        events.extend_from_slice(&(field.len() as u32).to_be_bytes());
        events.extend_from_slice(field.as_bytes());
    }
    let packed = Packed {
        ids: vec![1; ID],
        events,
    };
    let commit = commit(&packed);
    let record = records(&commit).unwrap().remove(0);
    assert_eq!(record.actor.as_deref(), Some("who\0"));
    assert_eq!(record.thread_id.as_deref(), Some("thread"));
    assert_eq!(
        (record.kind.as_str(), record.payload.as_str()),
        ("user.message", "{\"a\":1}")
    );
    assert_eq!(commit.first(1).unwrap(), packed);
    assert_eq!(commit.first(0).unwrap().ids, Vec::<u8>::new());
}

/// Rows were written with this dictionary.
#[test]
fn the_first_dictionary_never_changes() {
    use sha2::{Digest as _, Sha256};
    let hash = Sha256::digest(dictionary::FIRST);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash, "cc25d62ef36b836957ec4365ddc6bf232183550fbdfb91c3df1db725e80d2a09");
}

/// A few bytes that would be a great many are not opened for the one line that a list shows.
#[test]
fn what_a_list_tells_is_not_opened_at_any_price() {
    let told = |text: &str| {
        let body = Body::AgentMessage(Message {
            content: text_content(text),
        });
        let draft = Draft::new(EventId::from_uuid(Uuid::from_u128(1)), body, Timestamp::from_micros(0));
        let packed = pack(&[draft]);
        let commit = commit(&packed);
        let last = crate::log::reading::told(commit.session, commit.first_seq, commit.ids, commit.events);
        (packed.events.len(), last.and_then(|last| last.text))
    };
    assert_eq!(told("so it is").1.as_deref(), Some("so it is"));
    for text in ["zo ".repeat(400_000), "a".repeat(8 * 1024 * 1024)] {
        let (bytes, last) = told(&text);
        assert!(bytes < 64 * 1024, "{bytes} bytes");
        assert_eq!(last, None);
    }
}
