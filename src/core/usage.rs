//! How many bytes went over an interface since we began to count.

use serde::{Deserialize, Serialize};

/// A count of bytes, both ways, that survives a reset of the interface's own counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub total: u64,
    last: u64,
}

impl Usage {
    /// Begins to count at what the interface's counter shows now.
    pub fn start(counter: u64) -> Usage {
        Usage { total: 0, last: counter }
    }

    /// Takes in what the counter shows now. Less than before: the interface was made anew and counts from 0.
    pub fn take(&mut self, counter: u64) {
        let since = if counter < self.last { counter } else { counter - self.last };
        self.total = self.total.saturating_add(since);
        self.last = counter;
    }
}

#[cfg(test)]
mod tests {
    use super::Usage;

    fn after(start: u64, counters: &[u64]) -> u64 {
        let mut usage = Usage::start(start);
        counters.iter().for_each(|counter| usage.take(*counter));
        usage.total
    }

    #[test]
    fn what_was_there_before_is_not_counted() {
        assert_eq!(after(1000, &[1000]), 0);
        assert_eq!(after(1000, &[1010, 1010, 1015]), 15);
    }

    #[test]
    fn an_interface_made_anew_goes_on_from_what_was_counted() {
        assert_eq!(after(1000, &[1500, 20, 30]), 530);
        assert_eq!(after(1000, &[0, 0, 7]), 7);
    }

    #[test]
    fn absurd_numbers_overflow_nothing() {
        assert_eq!(after(0, &[u64::MAX, 1, 2]), u64::MAX);
    }

    #[test]
    fn it_goes_through_the_state_file() {
        let mut usage = Usage::start(5);
        usage.take(9);
        let text = serde_json::to_string(&usage).unwrap();
        assert_eq!(text, r#"{"total":4,"last":9}"#);
        assert_eq!(serde_json::from_str::<Usage>(&text).unwrap(), usage);
    }
}
