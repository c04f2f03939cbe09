// SPDX-License-Identifier: Apache-2.0
#include "transport/ucx/message.h"

#include <cstring>

#include "fabric/transport.h"

namespace braid::transport::ucx {
namespace {

constexpr std::string_view kPrefix = "ucx:";
constexpr std::uint32_t kNoWord = UINT32_MAX;

struct Record {
  std::uint64_t value;  // offset of a write, value of a signal
  std::uint32_t bytes;  // that follow
  std::uint32_t word;   // kNoWord: a write
};

void append_record(std::string& payload, const Record& record) {
  payload.append(reinterpret_cast<const char*>(&record), sizeof record);
}

void append_text(std::string& to, std::string_view text) {
  const std::uint64_t size = text.size();
  to.append(reinterpret_cast<const char*>(&size), sizeof size);
  to += text;
}

bool take_number(std::string_view& rest, std::uint64_t& value) {
  if (rest.size() < sizeof value) return false;
  std::memcpy(&value, rest.data(), sizeof value);
  rest.remove_prefix(sizeof value);
  return true;
}

bool take_text(std::string_view& rest, std::string& text) {
  std::uint64_t size = 0;
  if (!take_number(rest, size) || size > rest.size()) return false;
  text.assign(rest.substr(0, size));
  rest.remove_prefix(size);
  return true;
}

}  // namespace

void append_write(std::string& payload, std::size_t offset, std::span<const std::byte> data) {
  append_record(payload, {offset, static_cast<std::uint32_t>(data.size()), kNoWord});
  payload.append(reinterpret_cast<const char*>(data.data()), data.size());
}

void append_signal(std::string& payload, int word, std::uint64_t value) {
  append_record(payload, {value, 0, static_cast<std::uint32_t>(word)});
}

bool read_records(std::span<const std::byte> payload, const std::function<bool(std::size_t, std::span<const std::byte>)>& write,
                  const std::function<bool(int, std::uint64_t)>& signal) {
  while (!payload.empty()) {
    Record record;
    if (payload.size() < sizeof record) return false;
    std::memcpy(&record, payload.data(), sizeof record);
    payload = payload.subspan(sizeof record);
    if (record.word == kNoWord) {
      if (record.bytes > payload.size() || !write(record.value, payload.first(record.bytes))) return false;
      payload = payload.subspan(record.bytes);
    } else if (record.word >= static_cast<std::uint32_t>(fabric::kSignalWords) || !signal(static_cast<int>(record.word), record.value)) {
      return false;
    }
  }
  return true;
}

std::string to_descriptor(const Description& d) {
  std::string text(kPrefix);
  for (const std::uint64_t number : {d.transport, d.token, d.bytes, d.base}) text.append(reinterpret_cast<const char*>(&number), sizeof number);
  for (const std::string* part : {&d.label, &d.address, &d.key}) append_text(text, *part);
  return text;
}

Result<Description> read_descriptor(std::string_view text) {
  Description d;
  bool good = text.starts_with(kPrefix);
  text.remove_prefix(good ? kPrefix.size() : 0);
  for (std::uint64_t* number : {&d.transport, &d.token, &d.bytes, &d.base}) good = good && take_number(text, *number);
  for (std::string* part : {&d.label, &d.address, &d.key}) good = good && take_text(text, *part);
  if (good && text.empty()) return d;
  return invalid_argument("a region's description is not one of UCX; do all ranks run the same version?");
}

}  // namespace braid::transport::ucx
