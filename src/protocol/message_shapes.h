// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: the shapes of chat messages and of the tools offered with them.
#pragma once

#include "protocol/scalar_shapes.h"

namespace braid::protocol::shapes {

extern const Shape kMessages;
extern const Shape kTools;

}  // namespace braid::protocol::shapes
