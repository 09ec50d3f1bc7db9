//! A front's routes as one table: each with what it needs of its callers and what it takes and
//! gives. The axum router and the OpenAPI document are made of it, and tests walk over it, so that
//! there is no route without a need and none that is not described.

use axum::Router;
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;
use utoipa::ToSchema;

use crate::access::Need;
use crate::access::gate::{self, Gate, Guard};
use crate::body;
use crate::rates::{self, Limiter};

pub mod document;
pub mod methods;

use document::Doc;

/// A route of a front with state `S`.
#[derive(Debug)]
pub struct Route<S> {
    /// Its method.
    pub method: Method,
    /// Its path, with `{names}`.
    pub path: &'static str,
    /// What it asks of its callers.
    pub need: Need,
    /// Whether callers without a credential may ask it a lot only.
    is_door: bool,
    doc: Doc,
    handler: MethodRouter<S>,
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    fn new<H: Handler<T, S>, T: 'static>(
        (method, filter): (Method, MethodFilter),
        path: &'static str,
        need: Need,
        handler: H,
    ) -> Self {
        Self {
            method,
            path,
            need,
            is_door: false,
            doc: Doc::default(),
            handler: on(filter, handler),
        }
    }

    /// A route that reads.
    pub fn get<H: Handler<T, S>, T: 'static>(path: &'static str, need: Need, handler: H) -> Self {
        Self::new((Method::GET, MethodFilter::GET), path, need, handler)
    }

    /// A route that does or makes something.
    pub fn post<H: Handler<T, S>, T: 'static>(path: &'static str, need: Need, handler: H) -> Self {
        Self::new((Method::POST, MethodFilter::POST), path, need, handler)
    }

    /// A route that changes something.
    pub fn patch<H: Handler<T, S>, T: 'static>(path: &'static str, need: Need, handler: H) -> Self {
        Self::new((Method::PATCH, MethodFilter::PATCH), path, need, handler)
    }

    /// A route that changes something, for clients that know no other method for that.
    pub fn put<H: Handler<T, S>, T: 'static>(path: &'static str, need: Need, handler: H) -> Self {
        Self::new((Method::PUT, MethodFilter::PUT), path, need, handler)
    }

    /// A route that removes something.
    pub fn delete<H: Handler<T, S>, T: 'static>(
        path: &'static str,
        need: Need,
        handler: H,
    ) -> Self {
        Self::new((Method::DELETE, MethodFilter::DELETE), path, need, handler)
    }

    /// What it does, in half a sentence.
    #[must_use]
    pub fn does(mut self, summary: &'static str) -> Self {
        self.doc.summary = summary;
        self
    }

    /// The body that it takes.
    #[must_use]
    pub fn takes<T: ToSchema>(mut self) -> Self {
        self.doc.takes = Some(document::Shape::of::<T>());
        self
    }

    /// The body that it takes, which has the fields of two types.
    #[must_use]
    pub fn takes_both<T: ToSchema, U: ToSchema>(mut self) -> Self {
        self.doc.takes = Some(document::Shape::of::<T>().with::<U>());
        self
    }

    /// The body that it takes, described by hand.
    #[must_use]
    pub fn takes_json(mut self, name: &str, schema: serde_json::Value) -> Self {
        self.doc.takes = Some(document::Shape::by_hand(name, schema));
        self
    }

    /// A parameter of its query.
    #[must_use]
    pub fn asks(mut self, name: &'static str, form: document::Form) -> Self {
        self.doc.query.push((name, form));
        self
    }

    /// What it gives when all goes well.
    #[must_use]
    pub fn gives<T: ToSchema>(mut self, status: u16) -> Self {
        self.doc.gives = Some((status, Some(document::Shape::of::<T>())));
        self
    }

    /// The status when all goes well, of an answer whose form is not described.
    #[must_use]
    pub fn answers(mut self, status: u16) -> Self {
        self.doc.gives = Some((status, None));
        self
    }

    /// Limits how often an address may call it more strictly than other routes.
    #[must_use]
    pub fn at_the_door(mut self) -> Self {
        self.is_door = true;
        self
    }

    /// `METHOD /path`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// The routes as an axum router, each behind its guard. Only who passes that may send a body.
pub fn router<S: Clone + Send + Sync + 'static>(
    routes: Vec<Route<S>>,
    gate: &Gate,
    limiter: &Limiter,
    bodies: body::Limits,
) -> Router<S> {
    let mut router = Router::new();
    for route in routes {
        let guard = Guard {
            gate: gate.clone(),
            need: route.need,
        };
        let mut handler = route
            .handler
            .route_layer(from_fn_with_state(bodies, body::read))
            .route_layer(from_fn_with_state(guard, gate::check));
        if route.is_door {
            handler = handler.route_layer(from_fn_with_state(limiter.clone(), rates::at_the_door));
        }
        router = router.route(route.path, handler);
    }
    router
}
