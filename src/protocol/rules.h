// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: what a request model forbids beyond the shapes of its fields. The rules of
// a whole body see it as it was sent, before shapes are checked; their params name plain fields.
#pragma once

#include "protocol/shape.h"

namespace braid::protocol::rules {

Status chat(const Json& body);
Status completion(const Json& body);
Status generation_prompt(const Json& body);

// Rules of one value, for Shape::rule.
Status one_constraint(const Json& structured_outputs);
Status repetition(const Json& repetition_detection);
Status thinking_budget(const Json& value);

}  // namespace braid::protocol::rules
