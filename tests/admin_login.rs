//! Logging in to the admin API: a cookie in place of the admin key.

mod support;

use serde_json::{json, Value};
use support::{Answer, Client, Fleet, FleetOptions};

const LOGIN: &str = "/_miroir/admin/login";
const LOGOUT: &str = "/_miroir/admin/logout";
const TOPOLOGY: &str = "/_miroir/topology";
const ALIAS: &str = "/_miroir/aliases/a";

fn fleet() -> Fleet {
    Fleet::start(&FleetOptions {
        groups: vec![1],
        replication_factor: 1,
        server: ", trusted_proxies: [127.0.0.1]",
        ..FleetOptions::default()
    })
}

fn admin_key() -> &'static str {
    let [_, admin, _] = Fleet::secrets();
    admin
}

/// A browser at `address`.
struct Browser<'f> {
    fleet: &'f Fleet,
    address: &'static str,
    cookie: Option<String>,
    csrf_token: Option<String>,
}

impl<'f> Browser<'f> {
    fn at(fleet: &'f Fleet, address: &'static str) -> Self {
        Self { fleet, address, cookie: None, csrf_token: None }
    }

    fn logged_in(fleet: &'f Fleet, address: &'static str) -> Self {
        let mut browser = Self::at(fleet, address);
        let answer = browser.login(admin_key());
        browser.keep(&answer);
        assert_eq!(answer.status, 200, "{}", answer.text);
        browser
    }

    fn keep(&mut self, answer: &Answer) {
        let cookie = answer.header("set-cookie").expect("a cookie").split(';').next().expect("a first part");
        self.cookie = Some(cookie.to_owned());
        self.csrf_token = answer.body["csrf_token"].as_str().map(str::to_owned);
    }

    fn login(&self, key: &str) -> Answer {
        self.send("POST", LOGIN, &[("content-type", "application/json")], Some(json!({ "key": key })))
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("x-forwarded-for", self.address));
        headers.extend(self.cookie.as_ref().map(|cookie| ("cookie", cookie.as_str())));
        Client::new(&self.fleet.url, None).send(method, path, &headers, body.map(|body| body.to_string().into_bytes()))
    }

    fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    /// As its own page does it.
    fn change(&self, method: &str, path: &str, body: Value) -> Answer {
        let token = self.csrf_token.as_deref().expect("a token");
        self.send(method, path, &[("content-type", "application/json"), ("x-csrf-token", token)], Some(body))
    }
}

#[test]
fn who_logs_in_has_a_cookie_that_counts_as_the_admin_key_does() {
    let fleet = fleet();
    let master = fleet.client();
    master.succeed(master.post("/indexes/i/documents", json!([{ "id": 1 }])));
    let mut browser = Browser::at(&fleet, "1.1.1.1");
    browser.get(TOPOLOGY).expect_error(401, "miroir_invalid_auth");
    let answer = browser.login(admin_key());
    browser.keep(&answer);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let attributes = answer.header("set-cookie").unwrap().split_once("; ").unwrap().1.to_owned();
    assert_eq!(attributes, "Path=/_miroir; HttpOnly; SameSite=Strict; Max-Age=43200");
    assert!(answer.body["expires_at"].is_string() && answer.body["csrf_token"].as_str().unwrap().len() == 64);

    for path in [TOPOLOGY, "/_miroir/config", "/_miroir/aliases", "/_miroir/version"] {
        browser.get(path).expect_status(200);
    }
    // What changes something needs the token that only its own page knows.
    let target = json!({ "target": "i" });
    let put = |headers: &[(&str, &str)]| browser.send("PUT", ALIAS, headers, Some(target.clone()));
    put(&[]).expect_error(403, "miroir_csrf_token_invalid");
    put(&[("x-csrf-token", "")]).expect_error(403, "miroir_csrf_token_invalid");
    put(&[("x-csrf-token", &"0".repeat(64))]).expect_error(403, "miroir_csrf_token_invalid");
    let other = Browser::logged_in(&fleet, "1.1.1.1");
    put(&[("x-csrf-token", other.csrf_token.as_deref().unwrap())]).expect_error(403, "miroir_csrf_token_invalid");
    browser.send("DELETE", ALIAS, &[], None).expect_error(403, "miroir_csrf_token_invalid");
    browser.send("POST", "/_miroir/reload", &[], None).expect_error(403, "miroir_csrf_token_invalid");
    browser.send("POST", LOGOUT, &[], None).expect_error(403, "miroir_csrf_token_invalid");
    browser.get(ALIAS).expect_error(404, "miroir_alias_not_found");
    browser.change("PUT", ALIAS, target.clone()).expect_status(201);
    browser.change("DELETE", ALIAS, json!({})).expect_status(200);
    browser.change("POST", "/_miroir/reload", json!({})).expect_status(200);
    // A page that has both may send both.
    put(&[("x-admin-key", admin_key())]).expect_status(201);

    // It is no key of Meilisearch's.
    for path in ["/indexes", "/indexes/i/search", "/keys"] {
        browser.get(path).expect_error(401, "missing_authorization_header");
    }
    let token = browser.csrf_token.as_deref().unwrap();
    let explained = browser.send("POST", "/indexes/i/explain", &[("x-csrf-token", token)], Some(json!({})));
    explained.expect_error(401, "missing_authorization_header");
}

#[test]
fn a_cookie_is_for_encrypted_connections_where_there_are_any() {
    let fleet = fleet();
    let is_secure = |fleet: &Fleet, headers: &[(&str, &str)]| {
        let headers = [&[("content-type", "application/json")], headers].concat();
        let body = json!({ "key": admin_key() }).to_string().into_bytes();
        let answer = Client::new(&fleet.url, None).send("POST", LOGIN, &headers, Some(body));
        answer.header("set-cookie").unwrap_or_else(|| panic!("{}", answer.text)).ends_with("; Secure")
    };
    assert!(!is_secure(&fleet, &[]));
    assert!(is_secure(&fleet, &[("x-forwarded-proto", "https")]));
    assert!(!is_secure(&fleet, &[("x-forwarded-proto", "http")]));
    let mut fleet = fleet;
    fleet.kill_proxy();
    fleet.edit_configuration(|text| {
        text.replace(", trusted_proxies: [127.0.0.1]", "") + "  admin_ui: { secure_cookies: true }\n"
    });
    fleet.start_proxy();
    assert!(is_secure(&fleet, &[]));
    fleet.kill_proxy();
    fleet.edit_configuration(|text| text.replace("secure_cookies: true", "secure_cookies: false"));
    fleet.start_proxy();
    assert!(!is_secure(&fleet, &[("x-forwarded-proto", "https")]), "a stranger says so");
}

#[test]
fn a_session_outlives_the_proxy_and_ends_with_logout_or_with_the_key() {
    let mut fleet = fleet();
    let (kept, left) = {
        let (first, second) = (Browser::logged_in(&fleet, "1.1.1.1"), Browser::logged_in(&fleet, "1.1.1.1"));
        (first.cookie, (second.cookie, second.csrf_token))
    };
    let with = |fleet: &Fleet, cookie: &Option<String>| {
        Browser { fleet, address: "2.2.2.2", cookie: cookie.clone(), csrf_token: None }.get(TOPOLOGY).status
    };
    fleet.kill_proxy();
    fleet.start_proxy();
    assert_eq!((with(&fleet, &kept), with(&fleet, &left.0)), (200, 200));

    let leaving = Browser { fleet: &fleet, address: "1.1.1.1", cookie: left.0.clone(), csrf_token: left.1 };
    let gone = leaving.change("POST", LOGOUT, json!({}));
    assert_eq!((gone.status, gone.text.as_str()), (204, ""));
    let removal = gone.header("set-cookie").expect("the cookie goes");
    assert!(removal.starts_with("miroir_admin_session=; Path=/_miroir;") && removal.contains("Max-Age=0"), "{removal}");
    leaving.get(TOPOLOGY).expect_error(401, "miroir_invalid_auth");
    fleet.kill_proxy();
    fleet.start_proxy();
    assert_eq!((with(&fleet, &kept), with(&fleet, &left.0)), (200, 401));

    // Whoever logs in anew leaves the session before.
    let mut again = Browser { fleet: &fleet, address: "1.1.1.1", cookie: kept.clone(), csrf_token: None };
    let answer = again.login(admin_key());
    again.keep(&answer);
    assert_ne!(again.cookie, kept);
    assert_eq!((with(&fleet, &kept), again.get(TOPOLOGY).status), (401, 200));

    // Who had a key that counts no more is out.
    let new = "the-next-admin-key-of-tests";
    fleet.edit_configuration(|text| text.replace(admin_key(), new));
    again.get(TOPOLOGY).expect_status(200);
    fleet.admin().post("/_miroir/reload", json!({})).expect_status(200);
    again.get(TOPOLOGY).expect_error(401, "miroir_invalid_auth");
    again.login(admin_key()).expect_error(401, "miroir_invalid_auth");
    again.login(new).expect_status(200);
}

#[test]
fn guessing_is_slowed_down_for_the_address_that_guesses() {
    let fleet = fleet();
    let guesser = Browser::at(&fleet, "6.6.6.6");
    for n in 0..10 {
        guesser.login(&format!("guess {n}")).expect_error(401, "miroir_invalid_auth");
    }
    // Not even the right key is looked at now.
    let limited = guesser.login(admin_key());
    let wait: u64 = limited.header("retry-after").expect("when to come back").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert!(limited.header("set-cookie").is_none());
    limited.expect_error(429, "miroir_too_many_requests");
    // Neither does it help to say that one comes from elsewhere.
    let pretends = [("content-type", "application/json"), ("x-forwarded-for", "7.7.7.7")];
    guesser
        .send("POST", LOGIN, &pretends, Some(json!({ "key": "guess" })))
        .expect_error(429, "miroir_too_many_requests");
    Browser::logged_in(&fleet, "1.1.1.1").get(TOPOLOGY).expect_status(200);
    assert!(fleet.metric("miroir_admin_ui_logins_total", "refused") >= 10.0);
    assert!(fleet.metric("miroir_admin_ui_logins_total", "limited") >= 2.0);
    assert!(fleet.proxy_log().contains("somebody at 6.6.6.6 tried to log in with a wrong admin key"));
    assert!(!fleet.proxy_log().contains("guess 3"));
}

#[test]
fn what_is_no_login_is_refused_as_such() {
    let fleet = fleet();
    let browser = Browser::at(&fleet, "1.1.1.1");
    let json_type = [("content-type", "application/json")];
    for body in [json!({}), json!({ "key": 7 }), json!("hush"), json!({ "key": "hush", "more": 1 }), json!([])] {
        let refused = browser.send("POST", LOGIN, &json_type, Some(body)).expect_error(400, "bad_request");
        assert!(!refused.to_string().contains("hush"), "{refused}");
    }
    browser.send("POST", LOGIN, &[], Some(json!({ "key": "k" }))).expect_error(415, "missing_content_type");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    browser.send("POST", LOGIN, &form, Some(json!({ "key": "k" }))).expect_error(415, "invalid_content_type");
    let long = "k".repeat(20_000);
    browser.send("POST", LOGIN, &json_type, Some(json!({ "key": long }))).expect_error(413, "payload_too_large");
    for n in 0..12 {
        browser.send("POST", LOGIN, &json_type, Some(json!({ "n": n }))).expect_error(400, "bad_request");
    }
    browser.login(admin_key()).expect_status(200);
    browser.send("POST", LOGOUT, &[], None).expect_error(401, "miroir_invalid_auth");
    browser.get(LOGIN).expect_error(401, "miroir_invalid_auth");
    assert_eq!(fleet.admin().post(LOGOUT, json!({})).status, 204);
    // A session that was never given is none.
    let mut forger = Browser::at(&fleet, "1.1.1.1");
    for cookie in
        ["miroir_admin_session=", "miroir_admin_session=x", &format!("miroir_admin_session={}", "0".repeat(64))]
    {
        forger.cookie = Some(cookie.to_owned());
        forger.get(TOPOLOGY).expect_error(401, "miroir_invalid_auth");
    }

    let mut fleet = fleet;
    fleet.kill_proxy();
    fleet.edit_configuration(|text| text + "  admin_ui: { enabled: false }\n");
    fleet.start_proxy();
    Browser::at(&fleet, "1.1.1.1").login(admin_key()).expect_error(404, "not_found");
    fleet.admin().get(TOPOLOGY).expect_status(200);
}
