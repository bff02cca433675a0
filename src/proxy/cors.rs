//! Pages of any origin may call Miroir, as they may call Meilisearch: with any method and any header. `/_miroir` is for
//! operators, and no page of another origin has business there.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_LENGTH, VARY,
};
use http::Method;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::Result;

/// How long a browser may keep what it was told: Meilisearch's own value.
const MAX_AGE_S: u32 = 86_400;
const METHODS: &str = "CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE";
const VARIES_WITH: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

fn is_open(request: &RequestHeader) -> bool {
    !request.uri.path().starts_with("/_miroir")
}

/// Lets a page of any origin read the answer.
pub fn allow(request: &RequestHeader, answer: &mut ResponseHeader) -> Result<()> {
    if is_open(request) {
        answer.insert_header(ACCESS_CONTROL_ALLOW_ORIGIN, "*")?;
        // A node whose answer passes through has said it too.
        if !answer.headers.get_all(VARY).iter().any(|varies| varies == VARIES_WITH) {
            answer.append_header(VARY, VARIES_WITH)?;
        }
    }
    Ok(())
}

/// The answer to a browser that asks whether a page may send a request; `None` if `request` is no such question.
pub fn preflight(request: &RequestHeader) -> Result<Option<ResponseHeader>> {
    let asked_for = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD).map(|method| method.as_bytes());
    let asks = request.method == Method::OPTIONS && asked_for.is_some_and(|method| Method::from_bytes(method).is_ok());
    if !asks || !is_open(request) {
        return Ok(None);
    }
    let mut answer = ResponseHeader::build(200, Some(8))?;
    answer.insert_header(CONTENT_LENGTH, 0)?;
    answer.insert_header(ACCESS_CONTROL_ALLOW_METHODS, METHODS)?;
    answer.insert_header(ACCESS_CONTROL_MAX_AGE, MAX_AGE_S)?;
    if let Some(headers) = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        answer.insert_header(ACCESS_CONTROL_ALLOW_HEADERS, headers)?;
    }
    Ok(Some(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, path: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build(method, path.as_bytes(), None).unwrap();
        for (name, value) in headers {
            request.insert_header(*name, *value).unwrap();
        }
        request
    }

    #[test]
    fn a_browser_may_send_whatever_it_asks_for() {
        let headers = [
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        let answer = preflight(&request("OPTIONS", "/multi-search", &headers)).unwrap().unwrap();
        assert_eq!(answer.headers["access-control-allow-headers"], "authorization,content-type");
        assert!(METHODS.split(", ").any(|method| method == "POST"));
    }

    #[test]
    fn what_asks_for_no_method_is_no_preflight() {
        assert!(preflight(&request("OPTIONS", "/indexes", &[])).unwrap().is_none());
        let asking = [("access-control-request-method", "POST")];
        assert!(preflight(&request("GET", "/indexes", &asking)).unwrap().is_none());
        assert!(preflight(&request("OPTIONS", "/_miroir/topology", &asking)).unwrap().is_none());
    }
}
