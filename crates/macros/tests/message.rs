//! What `#[derive(Message)]` says where a type cannot be a message.

#[test]
fn mistakes_say_what_to_do() {
    trybuild::TestCases::new().compile_fail("tests/message/*.rs");
}
