// SPDX-License-Identifier: Apache-2.0
#include "transport/ucx/message.h"

#include <gtest/gtest.h>

#include <random>

#include "transport/ucx/region.h"

namespace braid::transport::ucx {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(UcxMessage, RecordsAreReadInOrderAndMalformedOnesNotAtAll) {
  std::string payload;
  append_write(payload, 40, bytes_of("abc"));
  append_signal(payload, 7, 99);
  append_write(payload, 50, bytes_of(""));
  std::string seen;
  const auto write = [&](std::size_t offset, std::span<const std::byte> data) {
    seen += "w" + std::to_string(offset) + ":" + std::string(reinterpret_cast<const char*>(data.data()), data.size());
    return true;
  };
  const auto signal = [&](int word, std::uint64_t value) {
    seen += " s" + std::to_string(word) + "=" + std::to_string(value) + " ";
    return true;
  };
  EXPECT_TRUE(read_records(bytes_of(payload), write, signal));
  EXPECT_EQ(seen, "w40:abc s7=99 w50:");
  for (std::size_t cut = 1; cut < payload.size(); ++cut) {
    const bool at_a_border = cut == 19 || cut == 35;
    EXPECT_EQ(read_records(bytes_of(payload.substr(0, cut)), write, signal), at_a_border) << cut;
  }
  std::string beyond;
  append_signal(beyond, fabric::kSignalWords, 1);
  EXPECT_FALSE(read_records(bytes_of(beyond), write, signal));
}

TEST(UcxMessage, ADescriptionSurvivesItsTextAndEveryCutIsAnError) {
  const Description d{1, 2, 3, 4, "host", std::string("a\0b", 3), "key"};
  const std::string text = to_descriptor(d);
  const auto read = read_descriptor(text);
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(to_descriptor(*read), text);
  for (std::size_t cut = 0; cut < text.size(); ++cut) EXPECT_FALSE(read_descriptor(text.substr(0, cut)).ok());
  EXPECT_FALSE(read_descriptor(text + "x").ok());
}

TEST(UcxInbox, AppliesAStreamInItsOrderHoweverItArrives) {
  std::vector<std::string> payloads;
  for (std::uint64_t i = 0; i < 50; ++i) {
    append_write(payloads.emplace_back(), 0, std::as_bytes(std::span(&i, 1)));
    append_signal(payloads.back(), 3, i + 1);
  }
  std::vector<std::uint64_t> order(payloads.size());
  for (std::uint64_t i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), std::mt19937(5));
  std::uint64_t memory = 77, arrived = 0;
  std::vector<bool> here(order.size());
  Inbox inbox(std::as_writable_bytes(std::span(&memory, 1)));
  for (const std::uint64_t number : order) {
    ASSERT_TRUE(inbox.take({1, 1, 9, number, Kind::kRecords}, bytes_of(payloads[number])));
    here[number] = true;
    while (arrived < here.size() && here[arrived]) ++arrived;
    EXPECT_EQ(inbox.word(3), arrived);
    if (arrived > 0) {
      EXPECT_EQ(memory, arrived - 1);
    }
  }
}

TEST(UcxInbox, RefusesWhatLiesOutsideTheMemory) {
  std::uint64_t memory = 77;
  Inbox inbox(std::as_writable_bytes(std::span(&memory, 1)));
  std::string payload;
  append_write(payload, 1, bytes_of("12345678"));
  EXPECT_FALSE(inbox.take({1, 1, 9, 0, Kind::kRecords}, bytes_of(payload)));
  payload.clear();
  append_write(payload, SIZE_MAX, bytes_of("1"));
  EXPECT_FALSE(inbox.take({1, 1, 9, 1, Kind::kRecords}, bytes_of(payload)));
  EXPECT_EQ(memory, 77u);
}

}  // namespace
}  // namespace braid::transport::ucx
