//! Logins of real feeds, step by step.

use super::*;
use serde_json::json;

enum Do {
    /// The login sends this, with this number.
    Sends(u64, &'static str),
    Calls,
    Gets(&'static str, Verdict),
    Is(fn(&Next<'_>) -> bool),
}
use Do::{Calls, Gets, Is, Sends};

fn steps(data: Value) -> Arc<[LoginStep]> {
    let steps: Vec<LoginStep> = serde_json::from_value(data).unwrap();
    for step in &steps {
        step.check(&|_| true).unwrap();
    }
    steps.into()
}

fn run(name: &str, steps: Arc<[LoginStep]>, script: Vec<Do>) -> Login {
    let mut login = Login::new(steps, FrameVars::new(2, 1, SystemTime::UNIX_EPOCH));
    for (at, act) in script.into_iter().enumerate() {
        match act {
            Sends(id, text) => {
                let Next::Send(template) = login.next() else { panic!("{name}: {at}: {:?}", login.next()) };
                let template = template.clone();
                let content = template.render(login.frame(id, SystemTime::UNIX_EPOCH), &[]);
                let content = content.unwrap_or_else(|error| panic!("{name}: {at}: {error}"));
                assert_eq!(content.payload(), Payload::Text(text), "{name}: {at}");
                login.handle_sent();
            }
            Calls => {
                let Next::Call(call) = login.next() else { panic!("{name}: {at}: {:?}", login.next()) };
                let mut context = login.context(Duration::from_secs(3));
                call.call(&mut context).unwrap_or_else(|error| panic!("{name}: {at}: {error}"));
                login.handle_called(context);
            }
            Gets(message, verdict) => {
                assert_eq!(login.handle_message(Payload::Text(message)), verdict, "{name}: {at}: {message}");
            }
            Is(next) => assert!(next(&login.next()), "{name}: {at}: {:?}", login.next()),
        }
    }
    login
}

fn waits(next: &Next<'_>) -> bool {
    matches!(next, Next::Wait)
}

fn done(next: &Next<'_>) -> bool {
    matches!(next, Next::Done)
}

fn fatal(detail: &str) -> Verdict {
    Verdict::Refused { class: ErrorClass::Refused, detail: detail.to_owned() }
}

use Verdict::{NotMine, Taken};

#[test]
fn home_assistant() {
    let steps = steps(json!([
        {"expect": {"pointer": "/type", "equals": "auth_required"}},
        {"send": {"type": "auth", "access_token": "t0ken"}, "expect": {"pointer": "/type", "equals": "auth_ok"},
         "refused": {"pointer": "/type", "equals": "auth_invalid"}, "detail": "/message"},
    ]));
    let hello = r#"{"type":"auth_required","ha_version":"2026.11.1"}"#;
    let auth = r#"{"access_token":"t0ken","type":"auth"}"#;
    let ok = r#"{"type":"auth_ok","ha_version":"2026.11.1"}"#;
    let good = vec![
        Is(waits),
        Gets(ok, NotMine),
        Gets(hello, Taken),
        // Before it is sent there is nothing to wait for.
        Gets(ok, NotMine),
        Sends(1, auth),
        Gets(hello, NotMine),
        Gets(ok, Taken),
        Is(done),
        Gets(ok, NotMine),
    ];
    run("good", Arc::clone(&steps), good);
    let invalid = r#"{"type":"auth_invalid","message":"Invalid access token or password"}"#;
    let refused = vec![
        Gets(invalid, NotMine),
        Gets(hello, Taken),
        Sends(1, auth),
        Gets(invalid, fatal("Invalid access token or password")),
    ];
    run("refused", steps, refused);
}

#[test]
fn alpaca() {
    let steps = steps(json!([
        {"expect": {"all": [{"pointer": "/0/T", "equals": "success"}, {"pointer": "/0/msg", "equals": "connected"}]}},
        {"send": {"action": "auth", "key": "k", "secret": "s"},
         "expect": {"pointer": "/*/msg", "equals": "authenticated"},
         "refused": {"pointer": "/0/T", "equals": "error"}, "class": "connection_fatal", "detail": "/0/msg"},
    ]));
    let auth = r#"{"action":"auth","key":"k","secret":"s"}"#;
    let connected = r#"[{"T":"success","msg":"connected"}]"#;
    run(
        "good",
        Arc::clone(&steps),
        vec![
            Gets(connected, Taken),
            Sends(1, auth),
            Gets(r#"[{"T":"success","msg":"authenticated"}]"#, Taken),
            Is(done),
        ],
    );
    let limit = r#"[{"T":"error","code":406,"msg":"connection limit exceeded"}]"#;
    let refused = Verdict::Refused {
        class: ErrorClass::ConnectionFatal,
        detail: "connection limit exceeded".to_owned(),
    };
    run("refused", steps, vec![Gets(connected, Taken), Sends(1, auth), Gets(limit, refused)]);
}

#[test]
fn okx() {
    let sign = |context: &TemplateContext| {
        let time = context.var("time_s").ok_or("no time")?;
        Ok(json!({"op": "login", "args": [{"timestamp": time, "sign": "x"}]}).to_string())
    };
    let steps = [LoginStep::send_with(sign)
        .expecting(Matcher::all([Matcher::pointer("/event", "login"), Matcher::pointer("/code", "0")]))
        .refused(Matcher::pointer("/event", "error"))
        .detail("/msg")];
    let login = r#"{"args":[{"sign":"x","timestamp":0}],"op":"login"}"#;
    let refusal = r#"{"event":"error","code":"60009","msg":"Login failed.","connId":"a4d3ae55"}"#;
    let ok = r#"{"event":"login","code":"0","msg":"","connId":"a4d3ae55"}"#;
    run("good", steps.clone().into(), vec![Sends(1, login), Is(waits), Gets(ok, Taken), Is(done)]);
    run("refused", steps.into(), vec![Sends(1, login), Gets(refusal, fatal("Login failed."))]);
}

#[test]
fn pusher() {
    let steps = steps(json!([{
        "expect": {"pointer": "/event", "equals": "pusher:connection_established"},
        "refused": {"pointer": "/event", "equals": "pusher:error"}, "detail": "/data/message",
        "capture": {"socket_id": "/data/@json/socket_id", "activity_timeout": "/data/@json/activity_timeout"},
    }]));
    let welcome = r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.42\",\"activity_timeout\":120}"}"#;
    let login = run("good", Arc::clone(&steps), vec![Is(waits), Gets(welcome, Taken), Is(done)]);
    let expected = json!({"socket_id": "1.42", "activity_timeout": 120});
    assert_eq!(serde_json::to_value(&**login.captures()).unwrap(), expected);
    assert!(!format!("{login:?}").contains("1.42"));
    let error = r#"{"event":"pusher:error","data":{"code":4001,"message":"App key not in this cluster"}}"#;
    run("refused", steps, vec![Gets(error, fatal("App key not in this cluster"))]);
}

#[test]
fn graphql_and_kucoin() {
    let graphql = steps(json!([
        {"send": {"type": "connection_init", "payload": {"token": "t"}}, "expect": {"pointer": "/type", "equals": "connection_ack"}}
    ]));
    let init = r#"{"payload":{"token":"t"},"type":"connection_init"}"#;
    let script = vec![
        Sends(1, init),
        Gets(r#"{"type":"ping"}"#, NotMine),
        Gets(r#"{"type":"connection_ack"}"#, Taken),
        Is(done),
    ];
    run("graphql", graphql, script);

    let kucoin = steps(json!([
        {"expect": {"pointer": "/type", "equals": "welcome"}, "capture": {"ping_interval": "/pingInterval"}}
    ]));
    let welcome = r#"{"id":"hQvf8jkno","type":"welcome","pingInterval":18000}"#;
    let login = run("kucoin", kucoin, vec![Gets(welcome, Taken), Is(done)]);
    assert_eq!(login.captures()["ping_interval"], 18000);
}

#[test]
fn answers_are_found_by_the_number_of_what_was_sent() {
    let steps = steps(json!([
        {"send": {"id": "${id}", "method": "public/auth"}, "refused": {"all":
            [{"pointer": "/id", "equals": "${id}"}, {"pointer": "/error", "exists": true}]},
         "expect": {"pointer": "/id", "equals": "${id}"}, "capture": {"token": "/result/access_token"}},
        {"send": {"id": "${id}", "method": "public/set_heartbeat", "token": "${token}"}},
        {"expect": {"pointer": "/for", "equals": "${token}"}},
    ]));
    let script = vec![
        Sends(41, r#"{"id":41,"method":"public/auth"}"#),
        Gets(r#"{"id":40,"result":{}}"#, NotMine),
        Gets(r#"{"id":41,"result":{"access_token":"abc"}}"#, Taken),
        Sends(42, r#"{"id":42,"method":"public/set_heartbeat","token":"abc"}"#),
        Is(waits),
        Gets(r#"{"for":"abd"}"#, NotMine),
        Gets(r#"{"for":"abc"}"#, Taken),
        Is(done),
    ];
    run("good", Arc::clone(&steps), script);
    let refused =
        vec![Sends(1, r#"{"id":1,"method":"public/auth"}"#), Gets(r#"{"id":1,"error":{}}"#, fatal(""))];
    run("refused", Arc::clone(&steps), refused);
    // What was to be captured was not there.
    let mut login = run(
        "without",
        steps,
        vec![Sends(1, r#"{"id":1,"method":"public/auth"}"#), Gets(r#"{"id":1,"result":{}}"#, Taken)],
    );
    let Next::Send(template) = login.next() else { panic!("{:?}", login.next()) };
    let template = template.clone();
    let error = template.render(login.frame(2, SystemTime::UNIX_EPOCH), &[]).err();
    assert_eq!(error.as_deref(), Some("nothing is known by the name of ${token}"));
    login.handle_sent();
    assert!(matches!(login.next(), Next::Failed(_)));
    assert_eq!(login.handle_message(Payload::Text(r#"{"for":"abc"}"#)), NotMine);
}

#[test]
fn closures_set_variables() {
    let fetch = |context: &mut LoginContext| {
        if context.time_left < Duration::from_secs(1) {
            return Err(LoginError::retry("no time left"));
        }
        assert_eq!((context.epoch, context.attempt, context.var("token")), (2, 1, None));
        context.set("token", "from REST");
        assert_eq!(context.var("token"), Some(json!("from REST")));
        Ok(())
    };
    let steps = [LoginStep::call(fetch), LoginStep::send_text("AUTH ${token}")];
    let login = run("call", steps.into(), vec![Calls, Sends(1, "AUTH from REST"), Is(done)]);
    assert_eq!(login.captures()["token"], "from REST");
    assert!(!format!("{:?}", login.context(Duration::ZERO)).contains("REST"));

    let fails = |call: LoginStep| {
        let login = Login::new([call].into(), FrameVars::new(1, 1, SystemTime::UNIX_EPOCH));
        let Next::Call(call) = login.next() else { panic!("{:?}", login.next()) };
        call.call(&mut login.context(Duration::ZERO)).unwrap_err()
    };
    let fatal = fails(LoginStep::call(|_| Err(LoginError::fatal("revoked"))));
    assert_eq!((fatal.class(), fatal.to_string()), (ErrorClass::FeedFatal, "revoked".to_owned()));
    let panic = fails(LoginStep::call(|_| panic!("oh")));
    assert_eq!(panic, LoginError::retry("the closure panicked: oh"));
}

#[test]
fn panics_of_matchers_are_told_once() {
    let steps = [LoginStep::expect(Matcher::closure(|_| panic!("oh")))];
    let mut login = run("panics", steps.into(), vec![Gets("x", NotMine), Gets("x", NotMine), Is(waits)]);
    assert_eq!(login.take_panic().as_deref(), Some("oh"));
    assert_eq!(login.take_panic(), None);
    run("no steps", [].into(), vec![Is(done), Gets("x", NotMine)]);
}

#[test]
fn steps_have_a_form_in_data() {
    let data = json!({"send": "x", "expect": {"text": "a"}, "refused": {"text": "b"}, "class": "refused",
                      "detail": "/m", "capture": {"a": "/a"}});
    let step: LoginStep = serde_json::from_value(data.clone()).unwrap();
    let built = LoginStep::send_text("x")
        .expecting(Matcher::text("a"))
        .refused(Matcher::text("b"))
        .class(ErrorClass::Refused)
        .detail("/m")
        .capture("a", "/a");
    let mut shown = data;
    shown["send"] = json!("[redacted]");
    assert_eq!(
        (serde_json::to_value(&step).unwrap(), serde_json::to_value(&built).unwrap()),
        (shown.clone(), shown)
    );
    let call = serde_json::to_value(LoginStep::call(|_| Ok(()))).unwrap();
    assert_eq!(call, json!({"class": "refused", "call": "<closure>"}));
    for wrong in [json!({"call": "<closure>"}), json!({"wait": 1}), json!({"send": "x", "class": "x"})] {
        assert!(serde_json::from_value::<LoginStep>(wrong.clone()).is_err(), "{wrong}");
    }
    for (wrong, field) in [
        (json!({}), "expect"),
        (json!({"refused": {"text": "b"}}), "expect"),
        (json!({"send": "x", "refused": {"text": "b"}}), "refused"),
        (json!({"send": "x", "capture": {"a": "/a"}}), "capture"),
        (json!({"send": "${nobody}"}), "send"),
        (json!({"send": "${/a}"}), "send"),
        (json!({"expect": {"text": "${nobody}"}}), "expect"),
        (json!({"expect": {"pointer": "a", "equals": 1}}), "expect.pointer"),
        (json!({"expect": {"text": "a"}, "refused": {"prefix": ""}}), "refused.prefix"),
        (json!({"expect": {"text": "a"}, "capture": {"time_s": "/a"}}), "capture"),
        (json!({"expect": {"text": "a"}, "capture": {"a": "a"}}), "capture.a"),
        (json!({"expect": {"text": "a"}, "detail": "a"}), "detail"),
    ] {
        let step: LoginStep = serde_json::from_value(wrong.clone()).unwrap();
        let problem = step.check(&|name| name == "token").map_err(|(field, _)| field);
        assert_eq!(problem, Err(field.to_owned()), "{wrong}");
    }
}
