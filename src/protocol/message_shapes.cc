// SPDX-License-Identifier: Apache-2.0
// Chat messages and tools. A message fits the shape of its role; any other role may have any
// content. The variants' names stay in an error's path.
#include "protocol/message_shapes.h"

#include "protocol/request_shapes.h"

namespace braid::protocol::shapes {
namespace {

// What a content may be: text, or parts that only a template looks at.
constexpr Variant kTextOrPartsVariants[] = {{"", &kText}, {"", &kSequence}};
constexpr Shape kContent = either(kTextOrPartsVariants), kContentOrNull = nullable(kContent);

constexpr std::string_view kDeveloperWord[] = {"developer"}, kSystemWord[] = {"system"}, kUserWord[] = {"user"},
                           kAssistantWord[] = {"assistant"}, kToolWord[] = {"tool"}, kFunctionWord[] = {"function"},
                           kCustomWord[] = {"custom"},
                           kAuthorWords[] = {"user", "assistant", "system", "developer", "tool"};
constexpr Shape kDeveloperRole = word(kDeveloperWord), kSystemRole = word(kSystemWord), kUserRole = word(kUserWord),
                kAssistantRole = word(kAssistantWord), kToolRole = word(kToolWord), kFunctionType = word(kFunctionWord),
                kCustomType = word(kCustomWord), kAuthorRole = word(kAuthorWords);

constexpr Field kDeveloperFields[] = {{"content", &kContent, true}, {"role", &kDeveloperRole, true}, {"name", &kText}};
constexpr Field kSystemFields[] = {{"content", &kContent, true}, {"role", &kSystemRole, true}, {"name", &kText}};
constexpr Field kUserFields[] = {{"content", &kContent, true}, {"role", &kUserRole, true}, {"name", &kText}};
constexpr Field kToolFields[] = {{"content", &kContent, true}, {"role", &kToolRole, true}, {"tool_call_id", &kText, true}};
constexpr Field kFunctionMessageFields[] = {{"content", &kTextOrNull, true}, {"name", &kText, true}, {"role", &kFunctionType, true}};

constexpr Field kIdFields[] = {{"id", &kText, true}};
constexpr Shape kAudio = nullable(object(kIdFields));
constexpr Field kCalledFields[] = {{"arguments", &kText, true}, {"name", &kText, true}};
constexpr Shape kCalled = object(kCalledFields), kCalledOrNull = nullable(kCalled);
constexpr Field kCustomFields[] = {{"input", &kText, true}, {"name", &kText, true}};
constexpr Shape kCustom = object(kCustomFields);
constexpr Field kFunctionCallFields[] = {{"id", &kText, true}, {"function", &kCalled, true}, {"type", &kFunctionType, true}};
constexpr Field kCustomCallFields[] = {{"id", &kText, true}, {"custom", &kCustom, true}, {"type", &kCustomType, true}};
constexpr Shape kFunctionCall = object(kFunctionCallFields), kCustomCall = object(kCustomCallFields);
constexpr Variant kCallVariants[] = {{"ChatCompletionMessageFunctionToolCallParam", &kFunctionCall},
                                     {"ChatCompletionMessageCustomToolCallParam", &kCustomCall}};
constexpr Shape kCall = either(kCallVariants);
constexpr Shape kFunctionCalls = nullable(list_of(kFunctionCall));

constexpr Field kAssistantFields[] = {{"role", &kAssistantRole, true}, {"audio", &kAudio},    {"content", &kContentOrNull},
                                      {"function_call", &kCalledOrNull}, {"name", &kText},    {"refusal", &kTextOrNull},
                                      {"tool_calls", &kSequence}};

constexpr Variant kPartVariants[] = {{"", &kAnyMap}, {"", &kText}};
constexpr Shape kPart = either(kPartVariants), kParts = list_of(kPart);
constexpr Variant kCustomContentVariants[] = {{"", &kText}, {"", &kParts}};
constexpr Shape kCustomContent = either(kCustomContentVariants);
constexpr Variant kReasoningVariants[] = {{"", &kText}, {"", &kAnyMap}};
constexpr Shape kReasoning = nullable(either(kReasoningVariants));
constexpr Shape kMaps = nullable(list_of(kAnyMap));
constexpr Field kCustomMessageFields[] = {{"role", &kText, true},          {"content", &kCustomContent}, {"name", &kText},
                                          {"tool_call_id", &kTextOrNull}, {"tool_calls", &kFunctionCalls},
                                          {"reasoning", &kReasoning},     {"tools", &kMaps},
                                          {"task", &kTextOrNull}};

constexpr Field kAuthorFields[] = {{"role", &kAuthorRole, true}, {"name", &kTextOrNull}};
constexpr Shape kAuthor = object(kAuthorFields);
constexpr Shape kHarmonyParts = list_of(kAnyMap);
constexpr Field kHarmonyFields[] = {{"author", &kAuthor, true},     {"content", &kHarmonyParts},      {"channel", &kTextOrNull},
                                    {"recipient", &kTextOrNull}, {"content_type", &kTextOrNull}};

constexpr Shape kDeveloper = object(kDeveloperFields), kSystem = object(kSystemFields), kUser = object(kUserFields),
                kAssistant = object(kAssistantFields), kTool = object(kToolFields),
                kFunctionMessage = object(kFunctionMessageFields), kCustomMessage = object(kCustomMessageFields),
                kHarmony = object(kHarmonyFields);
constexpr Variant kMessageVariants[] = {
    {"ChatCompletionDeveloperMessageParam", &kDeveloper}, {"ChatCompletionSystemMessageParam", &kSystem},
    {"ChatCompletionUserMessageParam", &kUser},           {"ChatCompletionAssistantMessageParam", &kAssistant},
    {"ChatCompletionToolMessageParam", &kTool},           {"ChatCompletionFunctionMessageParam", &kFunctionMessage},
    {"CustomChatCompletionMessageParam", &kCustomMessage}, {"Message", &kHarmony}};
constexpr Shape kMessage = either(kMessageVariants);

constexpr Field kToolFunctionFields[] = {{"name", &kText, true},         {"description", &kTextOrNull},
                                         {"parameters", &kAnyMapOrNull}, {"strict", &kFlagOrNull},
                                         {"defer_loading", &kFlagOrNull}};
constexpr Shape kToolFunction = object(kToolFunctionFields);
constexpr Field kToolDefinitionFields[] = {{"type", &kFunctionType}, {"function", &kToolFunction, true}, {"defer_loading", &kFlagOrNull}};
constexpr Shape kToolDefinition = object(kToolDefinitionFields);

}  // namespace

constexpr Shape kMessages = list_of(kMessage);
constexpr Shape kTools = nullable(list_of(kToolDefinition));
constexpr Shape kMessageToolCalls = list_of(kCall);

}  // namespace braid::protocol::shapes
