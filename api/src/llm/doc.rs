//! What OpenAPI says about the gateway. Its bodies are the vendors'; their documents describe them.

#![expect(dead_code, reason = "describes routes; `pass` serves them all")]

use utoipa::OpenApi;

/// The gateway's part of the document.
#[derive(OpenApi)]
#[openapi(paths(
    messages,
    count_tokens,
    responses,
    chat_completions,
    list_models,
    retrieve_model,
    provider_messages,
    provider_count_tokens,
    provider_responses,
    provider_chat_completions,
    provider_list_models,
    provider_retrieve_model
))]
pub(crate) struct Doc;

macro_rules! described {
    ($($name:ident $method:ident $path:literal $what:literal ($($param:literal)*);)*) => {$(
        #[utoipa::path($method, path = $path, tag = "gateway", params($(($param = String, Path),)*),
            responses((status = 200, description = $what),
            (status = 401, description = "No good key; like every refusal, in the vendor's own error shape"),
            (status = 404, description = "No such provider, or not a path that is passed on"),
            (status = 429, description = "A budget is used up: `x-perennial-budget` names it; or the provider's own answer")))]
        fn $name() {}
    )*};
}

described! {
    messages post "/llm/v1/messages" "Anthropic Messages, as the provider `anthropic` answers" ();
    count_tokens post "/llm/v1/messages/count_tokens" "Tokens of a Messages request" ();
    responses post "/llm/v1/responses" "OpenAI Responses, as the provider `openai` answers" ();
    chat_completions post "/llm/v1/chat/completions" "OpenAI Chat Completions, as the provider `openai` answers" ();
    list_models get "/llm/v1/models" "Models of `anthropic` for its clients, else of `openai`" ();
    retrieve_model get "/llm/v1/models/{model_id}" "One of them" ("model_id");
    provider_messages post "/llm/{provider}/v1/messages" "Anthropic Messages" ("provider");
    provider_count_tokens post "/llm/{provider}/v1/messages/count_tokens" "Tokens of a Messages request" ("provider");
    provider_responses post "/llm/{provider}/v1/responses" "OpenAI Responses" ("provider");
    provider_chat_completions post "/llm/{provider}/v1/chat/completions" "OpenAI Chat Completions" ("provider");
    provider_list_models get "/llm/{provider}/v1/models" "Its models" ("provider");
    provider_retrieve_model get "/llm/{provider}/v1/models/{model_id}" "One of them" ("provider" "model_id");
}
