//! Changes that are killed, and system calls that fail.

use super::{command, path, put, system};
use common::policy::Policy;
use tests::stepper::{Trouble, run};

/// Calls that change policy, and how many rules there are before and after.
const CHANGES: [(&str, &str, &str, usize, usize); 5] = [
    ("policy.Replace+30-user", "dom0", "new\nsvc * a b allow\n", 2, 3),
    ("policy.Replace+20-there", "dom0", "any\nsvc * a b allow\nsvc * b c allow\n", 2, 3),
    ("policy.Remove+20-there", "dom0", "any", 2, 1),
    ("policy.include.Replace+used", "dom0", "any\nsvc * a b allow\n", 2, 3),
    ("policy.RegisterArgument+svc", "test-net", "x", 2, 3),
];

#[test]
fn a_change_that_is_killed_anywhere_has_happened_or_not_and_the_policy_is_whole() {
    for (call, target, payload, old, new) in CHANGES {
        let fixture = system();
        let (mut stops, mut olds) = (0, 0);
        loop {
            let _ = std::fs::remove_file(path(&fixture, "30-user.policy"));
            let _ = std::fs::remove_file(path(&fixture, "60-registered-arguments.policy"));
            put(&fixture, "20-there.policy", "other * a b deny\n");
            put(&fixture, "include/used", "");
            let command = command(&fixture, "test-vm1", target, call, payload.as_bytes());
            let met = run(command, Trouble::Kill(stops)).met;
            let rules = Policy::load(&fixture.root()).unwrap().rules().len();
            assert!(rules == old || rules == new, "{call}, killed at stop {stops}: {rules} rules");
            olds += usize::from(rules == old);
            if !met {
                assert_eq!(rules, new, "{call}");
                break;
            }
            stops += 1;
        }
        assert!(olds > 40 && olds < stops, "{call}: {olds} of {stops} old");
        let again = command(&fixture, "test-vm1", target, call, payload.as_bytes()).output().unwrap();
        let is_refused = ["policy.Replace+30-user", "policy.Remove+20-there", "policy.RegisterArgument+svc"]
            .contains(&call);
        assert_eq!(again.status.code(), Some(i32::from(is_refused)), "{call}");
    }
}

#[test]
fn a_system_call_that_fails_changes_nothing_or_everything() {
    for (call, target, payload, old, new) in CHANGES {
        for errno in [libc::EIO, libc::ENOSPC] {
            let fixture = system();
            let (mut number, mut ambiguous) = (0, 0);
            loop {
                let _ = std::fs::remove_file(path(&fixture, "30-user.policy"));
                let _ = std::fs::remove_file(path(&fixture, "60-registered-arguments.policy"));
                put(&fixture, "20-there.policy", "other * a b deny\n");
                put(&fixture, "include/used", "");
                let command = command(&fixture, "test-vm1", target, call, payload.as_bytes());
                let traced = run(command, Trouble::Fail(number, errno));
                let rules = Policy::load(&fixture.root()).unwrap().rules().len();
                assert!(rules == old || rules == new, "{call}, call {number} failed: {rules} rules");
                ambiguous += usize::from(!traced.output.is_empty() && rules == new);
                assert!(
                    !traced.output.is_empty() || rules == new,
                    "{call}, call {number} failed: no success"
                );
                if !traced.met {
                    break;
                }
                number += 1;
            }
            assert!(
                number > 20 && ambiguous <= 2,
                "{call}: {ambiguous} of {number} told as failed, but done"
            );
        }
    }
}
