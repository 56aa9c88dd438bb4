# When the root key is withdrawn, sessions that are open go on with the keys they hold: until pg_encrypt.key_cache_ttl is
# over, or to their end if it is 0.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = new_node('cache', conf => 'pg_encrypt.key_cache_ttl = 0');
my $path = root_key_path($node);
my $read = 'select encrypt.decrypt_column(value) from t';
$node->safe_psql('postgres', q{
	select encrypt.create_key('default');
	create table t as select encrypt.encrypt_column('plaintext') as value;
});

sub withdraw_root_key
{
	rename $path, "$path.away" or die "$path: $!";
	return;
}

sub return_root_key
{
	rename "$path.away", $path or die "$path: $!";
	return;
}

my $unlimited = session($node);
is($unlimited->query_safe($read), 'plaintext', 'no limit: readable');
withdraw_root_key();
sleep 2.1;
is($unlimited->query_safe($read), 'plaintext', 'no limit: readable in an open session without the root key');
fails_with($node, $read, '58030', 'no limit: not readable in a new session');
$unlimited->quit;
return_root_key();

my $ttl = 4;
$node->adjust_conf('postgresql.conf', 'pg_encrypt.key_cache_ttl', "${ttl}s");
$node->reload;
$node->poll_query_until('postgres', q{select current_setting('pg_encrypt.key_cache_ttl')}, "${ttl}s")
  or die 'the setting was not reloaded';

my $session  = session($node);
my $started  = time;
my @read     = ($session->query($read));
withdraw_root_key();
my ($sqlstate, $said);
my $readable = 0;
while (time - $started < 4 * $ttl)
{
	($sqlstate, $said) = session_error($session, $read);
	last if defined $sqlstate;
	$readable++;
	sleep 0.2;
}
my $lasted = time - $started;
is($sqlstate, '58030', 'with a limit: not readable soon after it');
like($said, qr/root key file .* does not exist/, 'because the root key is not there');
cmp_ok($readable, '>', 0, 'with a limit: readable for a while');
cmp_ok($lasted, '>=', $ttl, 'until the limit');

# Encrypting and searching depend on the same memory.
for my $use (q{select encrypt.encrypt_column('x')}, q{select encrypt.blind_index('x')})
{
	is((session_error($session, $use))[0], '58030', "forgotten for: $use");
}
return_root_key();
is($session->query_safe($read), 'plaintext', 'the same session reads again when the root key is back');
$session->quit;
$node->stop;
done_testing();
