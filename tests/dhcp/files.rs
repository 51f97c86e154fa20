//! Lease files that are not what they should be.
use libtest_mimic::Completion;
pub fn a_run_that_reads_a_lease_is_quiet_and_starts_no_process() -> Completion {
    todo!()
}
pub fn a_lease_file_that_is_no_good_is_ignored_without_harm() -> Completion {
    todo!()
}
pub fn a_lease_file_that_people_can_write_is_not_obeyed_and_that_is_said() -> Completion {
    todo!()
}
pub fn status_says_where_each_gateway_is_known_from() -> Completion {
    todo!()
}
