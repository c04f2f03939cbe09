// SPDX-License-Identifier: Apache-2.0
#include "protocol/responses_shapes.h"

#include "protocol/scalar_shapes.h"

namespace braid::protocol::shapes {
namespace {

constexpr std::string_view kIncludeWords[] = {"code_interpreter_call.outputs", "computer_call_output.output.image_url", "file_search_call.results",
                                              "message.input_image.image_url", "message.output_text.logprobs", "reasoning.encrypted_content"},
                           kTierWords[] = {"auto", "default", "flex", "scale", "priority"}, kTruncationWords[] = {"auto", "disabled"},
                           kEffortWords[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max"},
                           kSummaryWords[] = {"auto", "concise", "detailed"}, kVerbosityWords[] = {"low", "medium", "high"},
                           kRoleWords[] = {"user", "assistant", "system", "developer"}, kTextWord[] = {"text"}, kObjectWord[] = {"json_object"},
                           kSchemaWord[] = {"json_schema"}, kChoiceWords[] = {"none", "auto", "required"};
constexpr Shape kIncludeWord = word(kIncludeWords), kInclude = nullable(list_of(kIncludeWord));
constexpr Shape kTier = word(kTierWords), kTruncation = nullable(word(kTruncationWords)), kEffort = nullable(word(kEffortWords)),
                kSummary = nullable(word(kSummaryWords)), kVerbosity = nullable(word(kVerbosityWords)), kRole = word(kRoleWords),
                kTextType = word(kTextWord), kObjectType = word(kObjectWord), kSchemaType = word(kSchemaWord), kChoiceWord = word(kChoiceWords);

constexpr Shape kItems = list_of(kAny);
constexpr Variant kInputVariants[] = {{"", &kText}, {"", &kItems}};
constexpr Shape kInput = either(kInputVariants);
constexpr Shape kTextMapOrNull = nullable(map_of(kText)), kBias = nullable(map_of(kNumber));
constexpr Field kReasoningFields[] = {{"effort", &kEffort}, {"generate_summary", &kSummary}, {"summary", &kSummary}};
constexpr Shape kReasoning = nullable(object(kReasoningFields));

constexpr Field kPlainFormatFields[] = {{"type", &kTextType, true}};
constexpr Field kSchemaFormatFields[] = {{"name", &kText, true}, {"schema", &kAnyMap, true}, {"type", &kSchemaType, true},
                                         {"description", &kTextOrNull}, {"strict", &kFlagOrNull}};
constexpr Field kObjectFormatFields[] = {{"type", &kObjectType, true}};
constexpr Shape kPlainFormat = object(kPlainFormatFields), kSchemaFormat = object(kSchemaFormatFields), kObjectFormat = object(kObjectFormatFields);
constexpr Variant kFormatVariants[] = {{"ResponseFormatText", &kPlainFormat}, {"ResponseFormatTextJSONSchemaConfig", &kSchemaFormat},
                                       {"ResponseFormatJSONObject", &kObjectFormat}};
constexpr Shape kFormat = nullable(either(kFormatVariants));
constexpr Field kTextConfigFields[] = {{"format", &kFormat}, {"verbosity", &kVerbosity}};
constexpr Shape kTextConfig = nullable(object(kTextConfigFields));
constexpr Shape kTools = list_of(kAnyMap);
constexpr Variant kChoiceVariants[] = {{"", &kChoiceWord}, {"", &kAnyMap}};
constexpr Shape kChoice = either(kChoiceVariants);

// Fields that mean what they mean in a chat are only looked at there.
constexpr Field kResponsesFields[] = {
    {"background", &kFlagOrNull},
    {"include", &kInclude},
    {"input", &kInput, true},
    {"instructions", &kTextOrNull},
    {"kv_transfer_params", &kAnyMapOrNull},
    {"max_output_tokens", &kIntegerOrNull},
    {"max_tool_calls", &kIntegerOrNull},
    {"metadata", &kTextMapOrNull},
    {"model", &kTextOrNull},
    {"logit_bias", &kBias},
    {"parallel_tool_calls", &kFlagOrNull},
    {"previous_response_id", &kTextOrNull},
    {"reasoning", &kReasoning},
    {"include_reasoning", &kFlag},
    {"service_tier", &kTier},
    {"store", &kFlagOrNull},
    {"stream", &kFlagOrNull},
    {"temperature", &kNumberOrNull},
    {"text", &kTextConfig},
    {"tool_choice", &kChoice},
    {"tools", &kTools},
    {"top_logprobs", &kIntegerOrNull},
    {"top_p", &kNumberOrNull},
    {"truncation", &kTruncation},
    {"user", &kTextOrNull},
};

constexpr Variant kContentVariants[] = {{"", &kText}, {"", &kItems}};
constexpr Shape kContent = either(kContentVariants);
constexpr Field kMessageFields[] = {{"content", &kContent, true}, {"role", &kRole, true}};
constexpr Field kCallFields[] = {{"arguments", &kText, true}, {"call_id", &kText, true}, {"name", &kText, true}};
constexpr Field kOutputFields[] = {{"output", &kContent, true}, {"call_id", &kText, true}};
constexpr Field kToolFields[] = {{"name", &kText, true}, {"parameters", &kAnyMapOrNull}, {"description", &kTextOrNull}, {"strict", &kFlagOrNull}};

}  // namespace

constexpr Shape kResponses = object(kResponsesFields);
constexpr Shape kInputMessage = object(kMessageFields);
constexpr Shape kFunctionCall = object(kCallFields);
constexpr Shape kFunctionOutput = object(kOutputFields);
constexpr Shape kFunctionTool = object(kToolFields);

}  // namespace braid::protocol::shapes
