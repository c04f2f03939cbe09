// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: the bodies of the endpoints, field by field with type and bounds, in the
// order in which the peer declares (and so reports) them.
#pragma once

#include "protocol/shape.h"

namespace braid::protocol::shapes {

extern const Shape kChat;
extern const Shape kCompletion;
extern const Shape kTokenizeChat;
extern const Shape kTokenizeText;
extern const Shape kDetokenize;
extern const Shape kGenerate;
extern const Shape kMessageToolCalls;  // of an assistant, which kChat does not look into
extern const Shape kStructuralTag;     // response_format with such a type

}  // namespace braid::protocol::shapes
