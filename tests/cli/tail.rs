//! `tail`, as scripts use it.

use crate::common::run;

#[test]
fn a_wrong_flag_is_a_usage_error() {
    let output = run(&["tail", "--no-such-flag", "ws://h/"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}
