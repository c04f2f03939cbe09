// SPDX-License-Identifier: Apache-2.0
// Any bytes as a chat template and, after a line of dashes, a request: a text or an error.
#include <string>
#include <string_view>

#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t cut = input.find("\n----\n");
  const std::string request = cut == std::string_view::npos ? R"({"messages":[{"role":"user","content":"x"}]})"
                                                            : std::string(input.substr(cut + 6));
  const auto chat = braid::text::compile_template(std::string(input.substr(0, cut)));
  if (!chat.ok()) return 0;
  (void)(*chat)->content_format();
  (void)(*chat)->render_json(request);
  return 0;
}
