// SPDX-License-Identifier: Apache-2.0
#include "protocol/request_shapes.h"

#include <algorithm>
#include <array>

#include "protocol/message_shapes.h"
#include "protocol/rules.h"

namespace braid::protocol::shapes {
namespace {

constexpr std::int64_t kMostStops = 4;

constexpr Shape with_rule(Shape shape, Status (*rule)(const Json&)) {
  shape.rule = rule;
  return shape;
}

constexpr Shape kFourTexts{.kind = Kind::kList, .high = kMostStops, .item = &kText};
constexpr Variant kStopVariants[] = {{"", &kText}, {"", &kFourTexts}};
constexpr Shape kStop = nullable(either(kStopVariants));

constexpr Shape kTokenIds = list_of(kNatural), kTokenIdLists = list_of(kTokenIds);
constexpr Variant kPromptVariants[] = {{"", &kTokenIds}, {"", &kTokenIdLists}, {"", &kText}, {"", &kTexts}};
constexpr Shape kPrompt = nullable(either(kPromptVariants));
constexpr Variant kEmbedsVariants[] = {{"", &kText}, {"", &kTexts}};
constexpr Shape kEmbeds = nullable(either(kEmbedsVariants));

constexpr Field kStreamOptionsFields[] = {{"include_usage", &kFlagOrNull}, {"continuous_usage_stats", &kFlagOrNull}};
constexpr Shape kStreamOptions = nullable(object(kStreamOptionsFields));

constexpr std::string_view kFormatWords[] = {"text", "json_object", "json_schema"}, kTagWord[] = {"structural_tag"};
constexpr Shape kFormatType = word(kFormatWords), kTagType = word(kTagWord);
constexpr Field kSchemaFields[] = {{"name", &kText, true}, {"description", &kTextOrNull}, {"schema", &kAnyMapOrNull}, {"strict", &kFlagOrNull}};
constexpr Shape kSchema = nullable(object(kSchemaFields));
constexpr Field kFormatFields[] = {{"type", &kFormatType, true}, {"json_schema", &kSchema}};
constexpr Field kTagFields[] = {{"type", &kTagType, true}, {"format", &kAny, true}};
constexpr Field kStructureFields[] = {{"begin", &kText, true}, {"schema", &kAnyMapOrNull}, {"end", &kText, true}};
constexpr Shape kStructure = object(kStructureFields), kStructures = list_of(kStructure);
constexpr Field kOldTagFields[] = {{"type", &kTagType, true}, {"structures", &kStructures, true}, {"triggers", &kTexts, true}};
constexpr Shape kPlainFormat = object(kFormatFields), kTag = object(kTagFields), kOldTag = object(kOldTagFields);
constexpr Variant kFormatVariants[] = {{"", &kPlainFormat}, {"", &kTag}, {"", &kOldTag}};
constexpr Shape kFormat = nullable(either(kFormatVariants));
constexpr Variant kTagVariants[] = {{"", &kOldTag}, {"", &kTag}};

constexpr Variant kSchemaTextVariants[] = {{"", &kText}, {"", &kAnyMap}};
constexpr Shape kSchemaText = nullable(either(kSchemaTextVariants));
constexpr Field kStructuredFields[] = {{"json", &kSchemaText},
                                       {"regex", &kTextOrNull},
                                       {"choice", &kTextsOrNull},
                                       {"grammar", &kTextOrNull},
                                       {"json_object", &kFlagOrNull},
                                       {"disable_any_whitespace", &kFlag},
                                       {"disable_additional_properties", &kFlag},
                                       {"whitespace_pattern", &kTextOrNull},
                                       {"structural_tag", &kTextOrNull}};
constexpr Shape kStructured = with_rule(nullable(object(kStructuredFields)), rules::one_constraint);

constexpr Field kRepetitionFields[] = {{"max_pattern_size", &kInteger}, {"min_pattern_size", &kInteger}, {"min_count", &kInteger}};
constexpr Shape kRepetition = with_rule(nullable(object(kRepetitionFields)), rules::repetition);
constexpr Shape kThinkingBudget = with_rule(nullable(kAny), rules::thinking_budget);

constexpr std::string_view kSideWords[] = {"left", "right"}, kPayloadWords[] = {"tensors", "none"},
                           kEffortWords[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max"},
                           kChoiceWords[] = {"none", "auto", "required"}, kFunctionWord[] = {"function"};
constexpr Shape kSide = nullable(word(kSideWords)), kPayload = word(kPayloadWords), kEffort = nullable(word(kEffortWords)),
                kChoiceWord = word(kChoiceWords), kFunctionType = word(kFunctionWord);
constexpr Field kNameFields[] = {{"name", &kText, true}};
constexpr Shape kName = object(kNameFields);
constexpr Field kNamedToolFields[] = {{"function", &kName, true}, {"type", &kFunctionType}};
constexpr Shape kNamedTool = object(kNamedToolFields);
constexpr Variant kToolChoiceVariants[] = {{"", &kChoiceWord}, {"", &kNamedTool}};
constexpr Shape kToolChoice = nullable(either(kToolChoiceVariants));

constexpr Shape kTruncate = nullable(integer(-1, INT64_MAX));
constexpr Shape kInterval{.kind = Kind::kInteger, .nullable = true, .low = 1};
constexpr Shape kSalt{.kind = Kind::kText, .nullable = true, .low = 1, .high = 1024};
constexpr Shape kTextMap = map_of(kText), kDocuments = nullable(list_of(kTextMap));
constexpr Shape kMapsOfMaps = nullable(map_of(kAnyMap));
constexpr Variant kArgumentVariants[] = {{"", &kText}, {"", &kInteger}, {"", &kNumber}};
constexpr Shape kArgument = either(kArgumentVariants), kArguments = list_of(kArgument);
constexpr Variant kArgumentsVariants[] = {{"", &kText}, {"", &kInteger}, {"", &kNumber}, {"", &kArguments}};
constexpr Shape kExtraArgument = either(kArgumentsVariants), kExtraArguments = nullable(map_of(kExtraArgument));
constexpr Shape kBias = nullable(map_of(kNumber));

// What chats and completions both have.
constexpr Field kCommonFields[] = {
    {"model", &kTextOrNull},
    {"frequency_penalty", &kNumberOrNull},
    {"logit_bias", &kBias},
    {"max_tokens", &kIntegerOrNull},
    {"presence_penalty", &kNumberOrNull},
    {"response_format", &kFormat},
    {"seed", &kInt64OrNull},
    {"stop", &kStop},
    {"stream", &kFlagOrNull},
    {"stream_options", &kStreamOptions},
    {"temperature", &kNumberOrNull},
    {"top_p", &kNumberOrNull},
    {"thinking_token_budget", &kThinkingBudget},
    {"user", &kTextOrNull},
    {"use_beam_search", &kFlag},
    {"top_k", &kIntegerOrNull},
    {"min_p", &kNumberOrNull},
    {"repetition_penalty", &kNumberOrNull},
    {"watermarking", &kFlagOrNull},
    {"length_penalty", &kNumber},
    {"stop_token_ids", &kIntegersOrNull},
    {"include_stop_str_in_output", &kFlag},
    {"ignore_eos", &kFlag},
    {"min_tokens", &kInteger},
    {"skip_special_tokens", &kFlagOrNull},
    {"spaces_between_special_tokens", &kFlag},
    {"truncate_prompt_tokens", &kTruncate},
    {"truncation_side", &kSide},
    {"prompt_logprobs", &kIntegerOrNull},
    {"logprob_token_ids", &kIntegersOrNull},
    {"allowed_token_ids", &kIntegersOrNull},
    {"bad_words", &kTexts},
    {"add_special_tokens", &kFlag},
    {"structured_outputs", &kStructured},
    {"priority", &kInt64},
    {"request_id", &kText},
    {"session_id", &kTextOrNull},
    {"return_tokens_as_token_ids", &kFlagOrNull},
    {"return_token_ids", &kFlagOrNull},
    {"return_weight_versions", &kFlag},
    {"routed_experts_prompt_start", &kNatural},
    {"return_token_offsets", &kFlagOrNull},
    {"mm_payload", &kPayload},
    {"return_mm_kwargs", &kFlagOrNull},
    {"cache_salt", &kSalt},
    {"kv_transfer_params", &kAnyMapOrNull},
    {"ec_transfer_params", &kAnyMapOrNull},
    {"vllm_xargs", &kExtraArguments},
    {"repetition_detection", &kRepetition},
    {"stream_interval", &kInterval},
};

template <std::size_t A, std::size_t B>
constexpr std::array<Field, A + B> joined(const Field (&first)[A], const Field (&second)[B]) {
  std::array<Field, A + B> all{};
  std::copy(first, first + A, all.begin());
  std::copy(second, second + B, all.begin() + A);
  return all;
}

constexpr Field kOnlyChatFields[] = {
    {"messages", &kMessages, true},
    {"logprobs", &kFlagOrNull},
    {"top_logprobs", &kIntegerOrNull},
    {"max_completion_tokens", &kIntegerOrNull},
    {"n", &kIntegerOrNull},
    {"tools", &kTools},
    {"tool_choice", &kToolChoice},
    {"reasoning_effort", &kEffort},
    {"include_reasoning", &kFlag},
    {"parallel_tool_calls", &kFlagOrNull},
    {"echo", &kFlag},
    {"add_generation_prompt", &kFlag},
    {"continue_final_message", &kFlag},
    {"documents", &kDocuments},
    {"chat_template", &kTextOrNull},
    {"chat_template_kwargs", &kAnyMapOrNull},
    {"media_io_kwargs", &kMapsOfMaps},
    {"mm_processor_kwargs", &kAnyMapOrNull},
    {"return_prompt_text", &kFlagOrNull},
};
constexpr auto kChatFields = joined(kOnlyChatFields, kCommonFields);

constexpr Field kOnlyCompletionFields[] = {
    {"prompt", &kPrompt},
    {"echo", &kFlagOrNull},
    {"logprobs", &kIntegerOrNull},
    {"n", &kInteger},
    {"suffix", &kTextOrNull},
    {"prompt_embeds", &kEmbeds},
};
constexpr auto kCompletionFields = joined(kOnlyCompletionFields, kCommonFields);

constexpr Field kTokenizeChatFields[] = {{"model", &kTextOrNull},
                                         {"messages", &kMessages, true},
                                         {"add_generation_prompt", &kFlag},
                                         {"return_token_strs", &kFlagOrNull},
                                         {"continue_final_message", &kFlag},
                                         {"add_special_tokens", &kFlag},
                                         {"chat_template", &kTextOrNull},
                                         {"chat_template_kwargs", &kAnyMapOrNull},
                                         {"media_io_kwargs", &kMapsOfMaps},
                                         {"mm_processor_kwargs", &kAnyMapOrNull},
                                         {"tools", &kTools}};
constexpr Field kTokenizeTextFields[] = {{"model", &kTextOrNull},
                                         {"prompt", &kText, true},
                                         {"add_special_tokens", &kFlag},
                                         {"return_token_strs", &kFlagOrNull}};
constexpr Shape kCounts = list_of(kCount);
constexpr Field kDetokenizeFields[] = {{"model", &kTextOrNull}, {"tokens", &kCounts, true}};

constexpr Field kSamplingFields[] = {
    {"n", &kInteger},
    {"presence_penalty", &kNumber},
    {"frequency_penalty", &kNumber},
    {"repetition_penalty", &kNumber},
    {"temperature", &kNumber},
    {"top_p", &kNumber},
    {"top_k", &kInteger},
    {"min_p", &kNumber},
    {"seed", &kInt64OrNull},
    {"stop", &kStop},
    {"stop_token_ids", &kIntegersOrNull},
    {"ignore_eos", &kFlag},
    {"max_tokens", &kIntegerOrNull},
    {"min_tokens", &kInteger},
    {"logprobs", &kIntegerOrNull},
    {"prompt_logprobs", &kIntegerOrNull},
    {"skip_special_tokens", &kFlag},
    {"spaces_between_special_tokens", &kFlag},
    {"include_stop_str_in_output", &kFlag},
    {"structured_outputs", &kStructured},
    {"logit_bias", &kBias},
    {"allowed_token_ids", &kIntegersOrNull},
    {"bad_words", &kTextsOrNull},
};
constexpr Shape kSampling = object(kSamplingFields);
constexpr Shape kGenerateTokens{.kind = Kind::kList, .low = 1, .item = &kNatural};
constexpr Field kGenerateFields[] = {{"request_id", &kText},
                                     {"token_ids", &kGenerateTokens, true},
                                     {"sampling_params", &kSampling, true},
                                     {"model", &kTextOrNull},
                                     {"return_token_ids", &kFlagOrNull},
                                     {"stream", &kFlagOrNull},
                                     {"stream_options", &kStreamOptions},
                                     {"cache_salt", &kSalt},
                                     {"priority", &kInt64},
                                     {"kv_transfer_params", &kAnyMapOrNull}};

}  // namespace

constexpr Shape kChat = object(kChatFields);
constexpr Shape kCompletion = object(kCompletionFields);
constexpr Shape kTokenizeChat = object(kTokenizeChatFields);
constexpr Shape kTokenizeText = object(kTokenizeTextFields);
constexpr Shape kDetokenize = object(kDetokenizeFields);
constexpr Shape kGenerate = object(kGenerateFields);
constexpr Shape kStructuralTag = either(kTagVariants);

}  // namespace braid::protocol::shapes
