// SPDX-License-Identifier: EUPL-1.2
//! The broker: it decides, routes and logs what it cannot read.
