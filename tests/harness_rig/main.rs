//! The kill rig of the harnesses: `perennial up` with a real vendor binary as the brain and a scripted vendor behind it that
//! refuses what the vendor would refuse. SIGKILL of the whole server while the model speaks, while a tool runs and between a
//! result and the next request; SIGKILL of the harness process alone. Afterwards the session rests, and
//!
//! * every request the vendor got is the beginning of the conversation that the log tells: nothing injected, nothing asked
//!   again that was answered, `[… tool_use, tool_result]` continuations only;
//! * no call had its effect twice, no event was lost (the oracle);
//! * the next turn is an ordinary one.
//!
//! Ten kills of each kind here, a hundred with `PERENNIAL_TORTURE=1`. A harness is one value of [`kind::Kind`].

#[cfg(test)]
mod conversation;
#[cfg(test)]
mod house;
#[cfg(test)]
mod kind;
#[cfg(test)]
mod strike;
#[cfg(test)]
mod trial;
#[cfg(test)]
mod turns;

#[cfg(test)]
mod claude_code {
    use anyhow::Result;

    use crate::kind::CLAUDE_CODE;
    use crate::strike::Moment;
    use crate::trial::kill;
    use crate::turns;

    #[tokio::test]
    async fn while_the_model_speaks() -> Result<()> {
        kill(&CLAUDE_CODE, Moment::Speaking).await
    }

    #[tokio::test]
    async fn while_a_tool_runs() -> Result<()> {
        kill(&CLAUDE_CODE, Moment::Calling).await
    }

    #[tokio::test]
    async fn between_a_result_and_the_next_request() -> Result<()> {
        kill(&CLAUDE_CODE, Moment::Answered).await
    }

    #[tokio::test]
    async fn the_harness_process_alone() -> Result<()> {
        kill(&CLAUDE_CODE, Moment::HarnessAlone).await
    }

    #[tokio::test]
    async fn an_interrupt_in_a_text() -> Result<()> {
        turns::interrupt_in_text(&CLAUDE_CODE).await
    }

    #[tokio::test]
    async fn an_interrupt_in_a_call() -> Result<()> {
        turns::interrupt_in_a_call(&CLAUDE_CODE).await
    }

    #[tokio::test]
    async fn a_word_in_mid_turn() -> Result<()> {
        turns::steering(&CLAUDE_CODE).await
    }

    #[tokio::test]
    async fn an_approval_over_a_restart() -> Result<()> {
        turns::approval_over_a_restart(&CLAUDE_CODE).await
    }

    #[tokio::test]
    async fn a_picture_in_the_next_turn() -> Result<()> {
        turns::a_picture_in_the_next_turn(&CLAUDE_CODE).await
    }
}

#[cfg(test)]
mod codex {
    use anyhow::Result;

    use crate::kind::CODEX;
    use crate::strike::Moment;
    use crate::trial::kill;
    use crate::turns;

    #[tokio::test]
    async fn while_the_model_speaks() -> Result<()> {
        kill(&CODEX, Moment::Speaking).await
    }

    #[tokio::test]
    async fn while_a_tool_runs() -> Result<()> {
        kill(&CODEX, Moment::Calling).await
    }

    #[tokio::test]
    async fn between_a_result_and_the_next_request() -> Result<()> {
        kill(&CODEX, Moment::Answered).await
    }

    #[tokio::test]
    async fn the_harness_process_alone() -> Result<()> {
        kill(&CODEX, Moment::HarnessAlone).await
    }

    #[tokio::test]
    async fn an_interrupt_in_a_text() -> Result<()> {
        turns::interrupt_in_text(&CODEX).await
    }

    #[tokio::test]
    async fn an_interrupt_in_a_call() -> Result<()> {
        turns::interrupt_in_a_call(&CODEX).await
    }

    #[tokio::test]
    async fn a_word_in_mid_turn() -> Result<()> {
        turns::steering(&CODEX).await
    }

    #[tokio::test]
    async fn an_approval_over_a_restart() -> Result<()> {
        turns::approval_over_a_restart(&CODEX).await
    }

    #[tokio::test]
    async fn a_picture_in_the_next_turn() -> Result<()> {
        turns::a_picture_in_the_next_turn(&CODEX).await
    }
}
