// SPDX-License-Identifier: EUPL-1.2
//! What every party that dials or listens shares: mTLS, identity, verified trust.
