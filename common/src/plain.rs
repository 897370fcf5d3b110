//! Answers of calls that qrexec frames by the exit status: the content and 0, or a text on both outputs and 1 or 2 (spec
//! 50 §17). Standard error does not reach other qubes.

use std::ffi::{OsString, c_int};

use crate::call::{Family, Reply};
use crate::failure::{Exception, Failure};
use crate::root::Root;
use crate::{log, request, serve};

/// The status of what the caller did wrong, and of all else.
const REFUSED: c_int = 1;
const FAILED: c_int = 2;
/// What callers are told of what only the log tells.
const HIDDEN: &str = "Internal error. See the log in dom0 for details.";

/// Serves the one request this process was started for and gives the exit status; as all others where it does not come
/// by qrexec.
pub fn serve(family: &Family, arguments: &[OsString]) -> c_int {
    if !request::is_plain(family, arguments) {
        return serve::serve(family, arguments);
    }
    log::catch_panics();
    let root = Root::from_environment();
    let request = serve::received(family, arguments, &root).map_err(refused_request);
    let (output, status) = answer(request.and_then(|request| serve::handle(family, &request, &root)));
    serve::send(&output);
    status
}

/// What goes to standard output, and the exit status.
fn answer(outcome: Result<Reply, Failure>) -> (Vec<u8>, c_int) {
    match outcome {
        Ok(Reply::Content(content)) => (content, 0),
        Ok(Reply::Ended(outcome)) => answer(outcome.map(Reply::Content)),
        Ok(Reply::Stream(serve)) => (Vec::new(), serve()),
        Err(Failure::Exception { exception, message, .. }) => told(exception, &message),
        Err(Failure::Dropped(reason)) => {
            log::line(&reason);
            log::text(HIDDEN);
            (HIDDEN.into(), FAILED)
        }
    }
}

fn told(exception: Exception, message: &str) -> (Vec<u8>, c_int) {
    let text = match exception {
        Exception::ProtocolError => {
            format!("{} {}", Exception::PolicyAdminProtocolException.class(), capitalised(message))
        }
        _ => format!("{} {message}", exception.class()),
    };
    log::text(&text);
    let is_refused = exception.is_about_policy()
        || matches!(exception, Exception::ProtocolError | Exception::PermissionDenied);
    (text.into_bytes(), if is_refused { REFUSED } else { FAILED })
}

/// What all calls share is told with a capital letter here.
fn capitalised(message: &str) -> String {
    let mut rest = message.chars();
    rest.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(rest).collect()
}

/// A request that cannot be read is the caller's mistake.
fn refused_request(failure: Failure) -> Failure {
    match failure {
        Failure::Dropped(reason) => {
            Failure::new(Exception::PolicyAdminProtocolException, format!("Invalid request: {reason}"))
        }
        visible => visible,
    }
}
