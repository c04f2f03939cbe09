// SPDX-License-Identifier: Apache-2.0
#include "text/render_lines.h"

#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>

#include "text/chat_template.h"
#include "text/files.h"

namespace braid::text {

using Json = nlohmann::ordered_json;

Status render_lines(const std::string& folder_or_template, std::istream& in, std::ostream& out) {
  std::shared_ptr<const ChatTemplate> chat;
  if (is_directory(folder_or_template)) {
    ASSIGN_OR_RETURN(chat, load_chat_template(folder_or_template));
  } else {
    ASSIGN_OR_RETURN(const std::string source, read_file(folder_or_template));
    ASSIGN_OR_RETURN(chat, compile_template(source));
  }
  std::string text;
  while (std::getline(in, text)) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto rendered = chat->render_json(text);
    Json line = rendered.ok() ? Json{{"rendered", *rendered}} : Json{{"error", rendered.error().message}};
    // ASCII only: some readers take U+2028 and U+0085 for line ends.
    out << line.dump(-1, ' ', true, Json::error_handler_t::replace) << '\n' << std::flush;
  }
  return {};
}

}  // namespace braid::text
