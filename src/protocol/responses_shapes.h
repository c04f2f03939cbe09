// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: the body of /v1/responses and the items of its input.
#pragma once

#include "protocol/shape.h"

namespace braid::protocol::shapes {

extern const Shape kResponses;
extern const Shape kInputMessage;   // {"role", "content"}
extern const Shape kFunctionCall;   // {"call_id", "name", "arguments"}
extern const Shape kFunctionOutput; // {"call_id", "output"}
extern const Shape kFunctionTool;   // {"name", "parameters", "description", "strict"}

}  // namespace braid::protocol::shapes
