//! What is to be done about one sandbox, of what is known of it and what is seen of it. Pure: every way a sandbox can go is here.

use perennial_engine::ports::{SandboxState, Seen};

/// What this process knows of a sandbox beside its row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    /// Its executor is on the line.
    pub(crate) attached: bool,
    /// A call waits for it or runs in it.
    pub(crate) wanted: bool,
    /// There was no call for as long as it is kept running without one.
    pub(crate) idle: bool,
    /// Its executor should have dialled home by now.
    pub(crate) late: bool,
    /// The row has not changed for so long that nobody asks for the reason any more.
    pub(crate) old: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing now.
    Wait,
    /// Make it.
    Create,
    /// Start what exists.
    Start,
    /// Stop it and call it paused, unless a call comes first.
    Pause,
    /// Stop what should not run.
    Stop,
    /// Note what has become of it.
    Mark(SandboxState),
    /// Remove what is left of it.
    Clean,
    /// Forget it, and what may be left of it.
    Forget,
}

pub(crate) fn decide(state: &SandboxState, seen: Option<&Seen>, facts: Facts) -> Action {
    use SandboxState::{Failed, Gone, Paused, Provisioning, Ready};
    match (state, seen) {
        (Provisioning, None) => Action::Create,
        (Provisioning | Paused, Some(Seen::Running)) if facts.attached => Action::Mark(Ready),
        (Provisioning, Some(Seen::Running)) if facts.late => Action::Mark(Failed {
            reason: "could not be made: its executor did not dial home".into(),
        }),
        (Provisioning, Some(Seen::Stopped { why })) => Action::Mark(Failed {
            reason: format!("could not be made: it stopped at once ({why})"),
        }),
        (Ready, Some(Seen::Running)) if facts.idle && !facts.wanted => Action::Pause,
        // It ended by itself, or its machine was restarted: whoever wants it starts it again.
        (Ready, Some(Seen::Stopped { .. } | Seen::Made)) => Action::Mark(Paused),
        (Paused, Some(Seen::Stopped { .. } | Seen::Made)) if facts.wanted => Action::Start,
        // Whoever paused it died in between.
        (Paused, Some(Seen::Running)) if !facts.wanted => Action::Stop,
        // Whoever made it died over it, and nobody knows how far that was: the session gets another one.
        (Provisioning, Some(Seen::Made | Seen::Remains)) => Action::Mark(Gone),
        // Somebody else removed it.
        (Ready | Paused, None | Some(Seen::Remains)) => Action::Mark(Gone),
        (Gone, _) => Action::Forget,
        (Failed { .. }, Some(_)) => Action::Clean,
        (Failed { .. }, None) if facts.old => Action::Forget,
        (Provisioning | Ready | Paused, Some(_)) | (Failed { .. }, None) => Action::Wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Facts = Facts {
        attached: false,
        wanted: false,
        idle: false,
        late: false,
        old: false,
    };

    fn stopped() -> Seen {
        Seen::Stopped { why: "exit 1".into() }
    }

    fn failed() -> SandboxState {
        SandboxState::Failed { reason: "why".into() }
    }

    #[test]
    fn a_sandbox_comes_to_life() {
        use SandboxState::{Provisioning, Ready};
        assert_eq!(decide(&Provisioning, None, NOTHING), Action::Create);
        assert_eq!(decide(&Provisioning, Some(&Seen::Running), NOTHING), Action::Wait);
        let attached = Facts {
            attached: true,
            ..NOTHING
        };
        assert_eq!(
            decide(&Provisioning, Some(&Seen::Running), attached),
            Action::Mark(Ready)
        );
    }

    #[test]
    fn one_that_does_not_come_to_life_has_failed_and_is_cleaned_up() {
        use SandboxState::Provisioning;
        let late = Facts { late: true, ..NOTHING };
        for (seen, facts) in [(Seen::Running, late), (stopped(), NOTHING)] {
            let told = decide(&Provisioning, Some(&seen), facts);
            assert!(matches!(told, Action::Mark(SandboxState::Failed { .. })), "{told:?}");
        }
        assert_eq!(decide(&failed(), Some(&stopped()), NOTHING), Action::Clean);
        assert_eq!(decide(&failed(), None, NOTHING), Action::Wait);
        assert_eq!(decide(&failed(), None, Facts { old: true, ..NOTHING }), Action::Forget);
    }

    #[test]
    fn idle_ones_pause_and_wanted_ones_run() {
        use SandboxState::{Paused, Ready};
        let idle = Facts {
            attached: true,
            idle: true,
            ..NOTHING
        };
        let wanted = Facts {
            wanted: true,
            ..NOTHING
        };
        assert_eq!(decide(&Ready, Some(&Seen::Running), idle), Action::Pause);
        assert_eq!(
            decide(&Ready, Some(&Seen::Running), Facts { wanted: true, ..idle }),
            Action::Wait
        );
        assert_eq!(decide(&Ready, Some(&Seen::Running), NOTHING), Action::Wait);
        assert_eq!(decide(&Paused, Some(&stopped()), NOTHING), Action::Wait);
        assert_eq!(decide(&Paused, Some(&stopped()), wanted), Action::Start);
        assert_eq!(decide(&Paused, Some(&Seen::Running), wanted), Action::Wait);
        let attached = Facts {
            attached: true,
            ..wanted
        };
        assert_eq!(decide(&Paused, Some(&Seen::Running), attached), Action::Mark(Ready));
        // What ended by itself is started by whoever wants it, by way of being paused.
        assert_eq!(decide(&Ready, Some(&stopped()), wanted), Action::Mark(Paused));
        assert_eq!(decide(&Paused, Some(&Seen::Running), NOTHING), Action::Stop);
    }

    #[test]
    fn what_was_removed_is_gone_and_what_is_gone_is_removed() {
        use SandboxState::{Gone, Paused, Provisioning, Ready};
        for state in [Ready, Paused] {
            for seen in [None, Some(&Seen::Remains)] {
                assert_eq!(decide(&state, seen, NOTHING), Action::Mark(Gone));
            }
        }
        for half in [Seen::Made, Seen::Remains] {
            assert_eq!(decide(&Provisioning, Some(&half), NOTHING), Action::Mark(Gone));
        }
        for seen in [None, Some(&Seen::Running), Some(&Seen::Remains), Some(&stopped())] {
            assert_eq!(decide(&Gone, seen, NOTHING), Action::Forget);
        }
    }

    /// However long it takes: what is not wanted comes to rest, and what is wanted runs or has an end.
    #[test]
    fn every_way_ends() {
        for wanted in [false, true] {
            for start in [
                SandboxState::Provisioning,
                SandboxState::Ready,
                SandboxState::Paused,
                SandboxState::Gone,
                failed(),
            ] {
                for first in [
                    None,
                    Some(Seen::Made),
                    Some(Seen::Running),
                    Some(stopped()),
                    Some(Seen::Remains),
                ] {
                    let (mut state, mut seen) = (start.clone(), first.clone());
                    let mut forgotten = false;
                    for _ in 0..8 {
                        let running = seen == Some(Seen::Running);
                        let facts = Facts {
                            attached: running,
                            wanted,
                            idle: true,
                            late: true,
                            old: true,
                        };
                        match decide(&state, seen.as_ref(), facts) {
                            Action::Wait => break,
                            Action::Create | Action::Start => seen = Some(Seen::Running),
                            Action::Pause => (state, seen) = (SandboxState::Paused, Some(stopped())),
                            Action::Stop => seen = Some(stopped()),
                            Action::Mark(next) => state = next,
                            Action::Clean => seen = None,
                            Action::Forget => {
                                forgotten = true;
                                break;
                            }
                        }
                    }
                    let rests = match &state {
                        SandboxState::Ready => wanted && seen == Some(Seen::Running),
                        SandboxState::Paused => !wanted && matches!(seen, Some(Seen::Stopped { .. } | Seen::Made)),
                        _ => forgotten,
                    };
                    assert!(rests, "{start:?} {first:?} wanted={wanted} ends as {state:?} {seen:?}");
                }
            }
        }
    }
}
