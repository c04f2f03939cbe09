// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <iosfwd>
#include <string>

#include "base/result.h"

namespace braid::text {

// Reads JSON lines {messages, tools, documents, kwargs, variables, now} from `in`, renders each with
// the template of a model folder or template file, and writes a line {"rendered": text} or
// {"error": message}. A bad line gives an error line and the rest goes on.
Status render_lines(const std::string& folder_or_template, std::istream& in, std::ostream& out);

}  // namespace braid::text
