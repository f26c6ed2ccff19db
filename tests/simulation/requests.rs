//! Requests with tokens that are alive or dead, and the promises about their answers.

use http::{Method, StatusCode};

use crate::carried::Form;
use crate::promise::Promise;
use crate::replica::{Answer, Replica};
use crate::world::lock;

/// Sends a request with this token, in any form, and checks the answer.
pub(crate) fn request(replica: &Replica, number: usize) {
    let mut world = lock(&replica.process.world);
    let form = Form::any(&mut world.rng);
    drop(world);
    request_as(replica, number, form);
}

pub(crate) fn request_as(replica: &Replica, number: usize, form: Form) {
    let world = &replica.process.world;
    let text = lock(world).tokens[number].text.clone();
    let answer = replica.call_at_once(form.request(Method::GET, "/me", &text));
    let is_revoked = replica.handle.is_revoked(&text);
    let mut world = lock(world);
    world.tally.count("requests");
    let id = replica.process.id;
    world.tell(format_args!("{id}: {form:?} {text}: {answer:?}"));
    let Some(answer) = answer else {
        return world.breaks(Promise::TheHotPath, &format!("{id} lets {text} wait"));
    };
    let must_be_denied = is_revoked || world.known[id].denied.contains(&number);
    // A dead token beside a living one is taken out.
    let is_let_in = answer.seen.as_ref().is_some_and(|seen| seen.contains(&text[1..]));
    match answer {
        _ if is_let_in && is_revoked => {
            let how =
                format!("{id} lets {text} in as {form:?}, though it knows that the token is dead");
            world.breaks(Promise::NoWayAround, &how);
        }
        _ if is_let_in && must_be_denied => {
            let how = format!("{id} lets {text} in, and has rejected it before");
            world.breaks(Promise::NothingIsForgotten, &how);
        }
        _ if is_let_in => {
            world.tally.count("passed");
            let (hash, now) = (world.tokens[number].hash, world.now());
            if world.log.has(&hash) && world.log.left(&hash, replica.process.ahead, now) <= 0 {
                world.tally.count("passed: expired");
            }
        }
        Answer { seen: Some(_), .. } if is_revoked && form.has_two_cookies() => {
            world.tally.count("stripped");
            world.known[id].denied.insert(number);
        }
        Answer { status: StatusCode::UNAUTHORIZED, .. } => {
            world.tally.count("401");
            if is_revoked {
                world.known[id].denied.insert(number);
            }
            if !world.tokens[number].was_revoked {
                world.wrong.push(format!("{id} rejects {text}, which was never revoked"));
            }
        }
        // The replica may be unsure about another token.
        Answer { status: StatusCode::SERVICE_UNAVAILABLE, .. }
            if world.plan.max_log_lag && (!must_be_denied || form.carries_another()) =>
        {
            world.tally.count("503 while behind");
        }
        other => world.wrong.push(format!("{id} answers a request with {other:?}")),
    }
}

/// Checks that a replica still denies every token that it has denied.
pub(crate) fn nothing_is_forgotten(replica: &Replica) {
    let mut world = lock(&replica.process.world);
    let id = replica.process.id;
    let lets_in = |number: &usize| !replica.handle.is_revoked(&world.tokens[*number].text);
    let forgotten: Vec<_> = world.known[id].denied.iter().copied().filter(lets_in).collect();
    for number in forgotten {
        let text = world.tokens[number].text.clone();
        let how = format!("{id} lets {text} in, and has rejected it before");
        world.breaks(Promise::NothingIsForgotten, &how);
    }
}
