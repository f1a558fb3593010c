//! The Azure clouds: where each has its resource manager and its Entra.

/// An Azure cloud, by the name that a provider's spec gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cloud {
    /// `Public`.
    Public,
    /// `USGovernment`.
    UsGovernment,
    /// `China`.
    China,
}

/// What differs from cloud to cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloudEndpoints {
    /// Azure Resource Manager.
    pub resource_manager: &'static str,
    /// Entra's authority.
    pub authority: &'static str,
    /// The newest api-version of Video Indexer's resource provider that the cloud has.
    pub api_version: &'static str,
    /// Whether that version has the extension operations.
    pub extension_operations: bool,
    /// The audience of a client assertion that a Kubernetes issuer signs.
    pub assertion_audience: &'static str,
}

impl Cloud {
    /// Every cloud.
    pub const ALL: [Self; 3] = [Self::Public, Self::UsGovernment, Self::China];

    /// The cloud of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cloud| cloud.name() == name)
    }

    /// Its name in a spec.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "Public",
            Self::UsGovernment => "USGovernment",
            Self::China => "China",
        }
    }

    /// Its endpoints. Those of China are taken from Azure's general documentation; Video Indexer names none there.
    pub const fn endpoints(self) -> CloudEndpoints {
        match self {
            Self::Public => CloudEndpoints {
                resource_manager: "https://management.azure.com",
                authority: "https://login.microsoftonline.com",
                api_version: "2025-04-01",
                extension_operations: true,
                assertion_audience: "api://AzureADTokenExchange",
            },
            Self::UsGovernment => CloudEndpoints {
                resource_manager: "https://management.usgovcloudapi.net",
                authority: "https://login.microsoftonline.us",
                api_version: "2024-01-01",
                extension_operations: false,
                assertion_audience: "api://AzureADTokenExchangeUSGov",
            },
            Self::China => CloudEndpoints {
                resource_manager: "https://management.chinacloudapi.cn",
                authority: "https://login.chinacloudapi.cn",
                api_version: "2025-04-01",
                extension_operations: true,
                assertion_audience: "api://AzureADTokenExchangeChina",
            },
        }
    }

    /// The hosts of every cloud that a namespaced Video Indexer provider may call.
    pub const PUBLIC_HOSTS: [&'static str; 6] = [
        "management.azure.com",
        "login.microsoftonline.com",
        "management.usgovcloudapi.net",
        "login.microsoftonline.us",
        "management.chinacloudapi.cn",
        "login.chinacloudapi.cn",
    ];
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn every_cloud_has_its_name_and_public_hosts() {
        for cloud in Cloud::ALL {
            assert_eq!(Cloud::named(cloud.name()), Some(cloud));
            let CloudEndpoints { resource_manager, authority, .. } = cloud.endpoints();
            for endpoint in [resource_manager, authority] {
                let host = endpoint.strip_prefix("https://").unwrap();
                assert!(Cloud::PUBLIC_HOSTS.contains(&host), "{host}");
            }
        }
        assert_eq!(Cloud::named("public"), None);
    }
}
