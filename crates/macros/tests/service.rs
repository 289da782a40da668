//! What `#[service]` accepts, and what it says where it does not.

#[test]
fn what_a_service_may_be() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/service_pass/*.rs");
    cases.compile_fail("tests/service_fail/*.rs");
}
