//! Rules: their form in data, and what is refused.
