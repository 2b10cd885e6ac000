//! Tests of the views and the engine, over tables that were written by the road that ingest takes.

mod answers;
mod engine;
mod gateways;
mod kept;
mod latest;
mod order;
mod story;
mod views;
mod world;
