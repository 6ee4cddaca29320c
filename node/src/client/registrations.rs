//! A registration with another provider is handed over to the agent's own node, which then fetches the mail that waits there
//! (AMP 06a §Deployment Scenarios). Called by `amesh register --fetch`.

use super::http::{Api, ApiError};
use super::registration::Registration;
use amesh_proto::api::registrations::{NewRegistration, RegistrationEntry};

impl Api {
    /// Lets the node behind this API fetch what waits at the provider of `registration`.
    ///
    /// # Errors
    /// As any request.
    pub async fn hand_over(&self, registration: &Registration) -> Result<RegistrationEntry, ApiError> {
        let url = format!("{}/agents/me/registrations/{}", self.base(), registration.provider);
        let new = NewRegistration {
            api_url: registration.api_url.clone(),
            address: registration.address.clone(),
            api_key: registration.api_key.clone(),
        };
        self.answer(self.http.put(&url).json(&new), url).await
    }
}
