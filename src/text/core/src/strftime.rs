// SPDX-License-Identifier: Apache-2.0
//! strftime for templates, on "YYYY-MM-DDTHH:MM:SS" or the clock (UTC).
use std::time::{SystemTime, UNIX_EPOCH};

pub struct Moment {
    year: i64,
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

const MONTHS: [&str; 12] = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Days since 1970-01-01 of a date in the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468
}

impl Moment {
    pub fn parse(text: &str) -> Option<Moment> {
        let fields: Vec<i64> = text
            .split(|c: char| !c.is_ascii_digit())
            .filter(|part| !part.is_empty())
            .map_while(|part| part.parse().ok())
            .collect();
        let at = |i: usize| fields.get(i).copied().unwrap_or(0);
        if fields.len() < 3 || !(1..=12).contains(&at(1)) || !(1..=31).contains(&at(2)) {
            return None;
        }
        Some(Moment {
            year: at(0),
            month: at(1) as usize,
            day: at(2),
            hour: at(3),
            minute: at(4),
            second: at(5),
        })
    }

    pub fn now() -> Moment {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        let days = seconds.div_euclid(86400);
        let mut year = 1970 + days / 366;
        while days_from_civil(year + 1, 1, 1) <= days {
            year += 1;
        }
        let mut month = 1;
        while month < 12 && days_from_civil(year, month + 1, 1) <= days {
            month += 1;
        }
        let rest = seconds.rem_euclid(86400);
        Moment {
            year,
            month: month as usize,
            day: days - days_from_civil(year, month, 1) + 1,
            hour: rest / 3600,
            minute: rest / 60 % 60,
            second: rest % 60,
        }
    }

    pub fn format(&self, pattern: &str) -> String {
        let mut out = String::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive = chars.next().unwrap_or('%');
            let padded = directive != '-';
            if !padded {
                directive = chars.next().unwrap_or('-');
            }
            out.push_str(&self.directive(directive, padded));
        }
        out
    }

    fn directive(&self, directive: char, padded: bool) -> String {
        let two = |n: i64| if padded { format!("{n:02}") } else { n.to_string() };
        let days = days_from_civil(self.year, self.month as i64, self.day);
        let weekday = DAYS[(days + 4).rem_euclid(7) as usize];
        match directive {
            'Y' => self.year.to_string(),
            'y' => two(self.year % 100),
            'm' => two(self.month as i64),
            'd' => two(self.day),
            'H' => two(self.hour),
            'I' => two((self.hour + 11) % 12 + 1),
            'M' => two(self.minute),
            'S' => two(self.second),
            'p' => if self.hour < 12 { "AM" } else { "PM" }.to_string(),
            'B' => MONTHS[self.month - 1].to_string(),
            'b' | 'h' => MONTHS[self.month - 1][..3].to_string(),
            'A' => weekday.to_string(),
            'a' => weekday[..3].to_string(),
            'j' => format!("{:03}", days - days_from_civil(self.year, 1, 1) + 1),
            'F' => self.format("%Y-%m-%d"),
            'T' => self.format("%H:%M:%S"),
            '%' => "%".to_string(),
            other => format!("%{other}"),
        }
    }
}
