// SPDX-License-Identifier: Apache-2.0
// How errors look on the wire.
#pragma once

#include <string>

#include "base/result.h"

namespace braid::protocol {

int status_of(ErrorCode code);
// {"error": {"message", "type", "param", "code"}}. The type of a misshapen body, whose param begins
// with "body", is "Bad Request".
std::string error_body(const Error& error, int status);

}  // namespace braid::protocol
