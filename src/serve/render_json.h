// SPDX-License-Identifier: Apache-2.0
// What the render endpoints answer: a body for /inference/v1/generate.
#pragma once

#include <span>
#include <string>

#include "serve/context.h"

namespace braid::serve {

// {"request_id", "token_ids", "sampling_params", "model", "stream", ...}; an error when the
// parameters are wrong.
Result<std::string> rendered_json(Context& context, const protocol::CommonRequest& request,
                                  std::span<const std::int32_t> tokens, const std::string& id_prefix);

}  // namespace braid::serve
